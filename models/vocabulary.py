"""The words that every package shares. Standard library only."""

from enum import StrEnum


class Decision(StrEnum):
    """What Demur says of a study."""

    #: Proved safe to clear: score below the threshold of a valid certificate, every gate passed.
    HEALTHY = "healthy"
    #: "I don't know": a human reads it. The default for everything.
    IDK = "IDK"


class Label(StrEnum):
    """What is known of a study in a study table or score table; an empty cell is "not known"."""

    #: No finding.
    HEALTHY = "healthy"
    #: At least one finding.
    ABNORMAL = "abnormal"


class Split(StrEnum):
    """What a study may be used for. Patients never cross splits; "validation" is not a split."""

    #: Weights are fitted on it.
    TRAIN = "train"
    #: Members, rule and strangeness limit are chosen on it.
    TUNE = "tune"
    #: The certificate is computed on it, once.
    CALIBRATION = "calibration"
    #: Looked at last.
    TEST = "test"


class Mode(StrEnum):
    """How far a site trusts Demur. Raised only by its own certificate; falls back to shadow by itself."""

    #: Decides silently; everyone is read.
    SHADOW = "shadow"
    #: Healthy goes to the end of the worklist.
    PRIORITISE = "prioritise"
    #: Healthy leaves the worklist.
    AUTONOMOUS = "autonomous"


class Reason(StrEnum):
    """Why a study is IDK. Each is something that a person can act on."""

    # The score
    #: The score is not below the certified threshold.
    SCORE = "score_not_below_threshold"
    #: The network gave no number (NaN or infinite).
    NO_SCORE = "no_score"
    #: The picture is unlike the films that the ensemble was trained on.
    STRANGE = "strange"

    # The file
    #: The file is not DICOM, or breaks a bound before decoding.
    UNREADABLE = "unreadable"
    #: The pixels could not be decoded.
    UNDECODABLE = "undecodable"
    #: The decoder was killed: it ran out of time or memory.
    DECODER_KILLED = "decoder_killed"
    #: The study has no image that could be read.
    NO_IMAGE = "no_image"

    # The scope: the header can veto, never vouch
    #: Modality is outside the scope (say CT).
    MODALITY = "out_of_scope_modality"
    #: Body part is outside the scope (say HIP).
    BODY_PART = "out_of_scope_body_part"
    #: View is outside the scope (say lateral).
    VIEW = "out_of_scope_view"
    #: Patient's age is outside the scope or unknown.
    AGE = "out_of_scope_age"
    #: Presentation intent is FOR PROCESSING.
    INTENT = "out_of_scope_presentation_intent"
    #: More than one frame.
    FRAMES = "out_of_scope_frames"
    #: Colour, or another photometric interpretation than monochrome.
    PHOTOMETRIC = "out_of_scope_photometric_interpretation"
    #: Text burned into the picture, or a secondary capture.
    SECONDARY = "out_of_scope_secondary_capture"
    #: More images, or more frontal views, than the certificate was calibrated with.
    IMAGES = "out_of_scope_number_of_images"

    # The promise
    #: No verified bundle is open.
    NO_BUNDLE = "no_bundle"
    #: The site is not certified by the bundle's certificate.
    SITE = "site_not_certified"
    #: The certificate is expired or not yet valid.
    EXPIRED = "certificate_expired"
    #: The patient has no identifier, so nobody can say how many studies of the patient were decided.
    PATIENT = "no_patient_id"
    #: As many studies of this patient were decided before as the certificate covers.
    STUDIES = "more_studies_than_certified"

    # The service
    #: The attempt was begun and never ended: the process died in it. Not retried by itself.
    ATTEMPT_LOST = "attempt_lost"
    #: A fault of Demur's own; the log has it.
    FAULT = "fault"
    #: It was called healthy; then its site's monitor alarmed or its inputs drifted, so it is read after all.
    RECALLED = "recalled"
    #: Instances arrived after the decision; the study is read by a human.
    REOPENED = "reopened"
    #: Other bytes came under the UID of an instance that was stored already, or an instance names another patient.
    CONFLICT = "conflicting_instances"
