"""What readers are told, in plain words: reasons, states, results, and what went wrong."""

from dataclasses import dataclass

from models.vocabulary import Reason
from service.worklist.readings import Confidence, Finding
from service.worklist.states import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A reason as a reader meets it: a few words for the list, what happened, and what to do."""

    short: str
    sentence: str
    advice: str


_READ = "Read it as usual."
_HEADER = "Read it as usual; if the film is mislabelled, say so in the note so that the sender can put it right."
_SEND_AGAIN = (
    "Look at it in your PACS, or ask the sender for it again; without a picture the result is “not assessable”."
)

#: Before a study has reasons, or where it needs none.
IN_TURN = Words(short="In turn", sentence="The study waits to be read in turn.", advice=_READ)

REASONS: dict[Reason, Words] = {
    Reason.SCORE: Words(
        short="Not proved healthy",
        sentence="Demur could not prove that this study is healthy. That says nothing of what is in it.",
        advice=_READ,
    ),
    Reason.NO_SCORE: Words(short="No answer", sentence="The network gave no number for this study.", advice=_READ),
    Reason.STRANGE: Words(
        short="Unlike known films",
        sentence="The picture is unlike the films that Demur was trained on: positioning, exposure, or not a chest at all.",
        advice="Check first that this is the right kind of film; then read it as usual.",
    ),
    Reason.UNREADABLE: Words(
        short="Damaged file", sentence="A file is not valid DICOM or breaks a safety limit.", advice=_SEND_AGAIN
    ),
    Reason.UNDECODABLE: Words(
        short="Picture unreadable", sentence="The pixels of an image could not be decoded.", advice=_SEND_AGAIN
    ),
    Reason.DECODER_KILLED: Words(
        short="Picture unreadable",
        sentence="Decoding an image took too long or too much memory, and was stopped.",
        advice=_SEND_AGAIN,
    ),
    Reason.NO_IMAGE: Words(
        short="No picture", sentence="The study holds no image that could be read.", advice=_SEND_AGAIN
    ),
    Reason.MODALITY: Words(
        short="Other modality", sentence="The header names a modality that Demur does not judge.", advice=_HEADER
    ),
    Reason.BODY_PART: Words(
        short="Other body part", sentence="The header names a body part that Demur does not judge.", advice=_HEADER
    ),
    Reason.VIEW: Words(
        short="Other view",
        sentence="The header names a view that Demur does not judge, such as a lateral.",
        advice=_HEADER,
    ),
    Reason.AGE: Words(
        short="Age",
        sentence="The patient's age is not known, or outside the ages that Demur judges.",
        advice="Read it as usual, with the age in mind.",
    ),
    Reason.INTENT: Words(
        short="Raw picture",
        sentence="The image is meant for processing, not for reading: it may look flat.",
        advice="Ask the sender for the image that is meant for presentation, or set the window by hand.",
    ),
    Reason.FRAMES: Words(
        short="Several frames",
        sentence="An image has more than one frame; only the first is shown here.",
        advice="Look at the other frames in your PACS.",
    ),
    Reason.PHOTOMETRIC: Words(
        short="Not plain grey",
        sentence="An image is in colour, or not plain greyscale.",
        advice="Look at it in your PACS if it is not shown here.",
    ),
    Reason.SECONDARY: Words(
        short="Copy or annotated",
        sentence="The image is a secondary capture, or has text burned into it.",
        advice="Read the original in your PACS if there is one.",
    ),
    Reason.IMAGES: Words(
        short="Unusual image count",
        sentence="The study has more images, or more frontal views, than Demur judges together.",
        advice="Look at every image; they are all shown.",
    ),
    Reason.NO_BUNDLE: Words(
        short="No release open", sentence="No verified release is in use, so every study is read.", advice=_READ
    ),
    Reason.SITE: Words(
        short="Site not certified",
        sentence="Demur holds no certificate for this site, so every study of it is read.",
        advice=_READ,
    ),
    Reason.EXPIRED: Words(
        short="Certificate expired", sentence="The certificate is not in date, so every study is read.", advice=_READ
    ),
    Reason.PATIENT: Words(
        short="No patient number",
        sentence="The study has no patient number, so Demur cannot tell whether the patient was judged before.",
        advice="Read it as usual, and tell the sender that the number is missing.",
    ),
    Reason.STUDIES: Words(
        short="Judged before",
        sentence="As many earlier studies of this patient were judged as the certificate covers.",
        advice=_READ,
    ),
    Reason.ATTEMPT_LOST: Words(
        short="Interrupted",
        sentence="Demur was interrupted while it looked at this study, and does not try again by itself.",
        advice=_READ,
    ),
    Reason.FAULT: Words(
        short="Fault in Demur",
        sentence="Demur failed on this study; the service's log says how.",
        advice="Read it as usual. If it happens often, tell whoever runs Demur.",
    ),
    Reason.RECALLED: Words(
        short="Read after all",
        sentence="Demur had cleared this study; since then its site was found not to be safe to clear.",
        advice="Read it with care: nobody has yet.",
    ),
    Reason.REOPENED: Words(
        short="Images came later",
        sentence="Images arrived after the study was first decided or read.",
        advice="Look at every image; some may be new.",
    ),
    Reason.CONFLICT: Words(
        short="Conflicting images",
        sentence="Two different images came under the same identifier (the first is shown), or the images name "
        "different patients.",
        advice="Compare with your PACS, and tell the sender if they differ.",
    ),
}

#: The states that readers see. What was withdrawn is not among them: it would tell what was called healthy.
STATES: dict[State, str] = {State.SCHEDULED: "Waiting", State.IN_PROGRESS: "Being read", State.COMPLETED: "Read"}

FINDINGS: dict[Finding, str] = {
    Finding.FINDING: "Finding",
    Finding.NO_FINDING: "No finding",
    Finding.NOT_ASSESSABLE: "Not assessable",
}

CONFIDENCES: dict[Confidence, str] = {
    Confidence.LOW: "Unsure",
    Confidence.MEDIUM: "Fairly sure",
    Confidence.HIGH: "Sure",
}

#: Said once after something was done, by the code in the page's address.
NOTICES: dict[str, str] = {
    "released": "The case is back on the worklist for the next reader.",
    "undone": "The result was taken back. The case is still yours: give a new result, or give it back.",
    "amended": "The addendum was added. What stood before is kept.",
    "held": "You still hold this case. Give a result, or give it back, before you open the next.",
    "empty": "Nothing is waiting. New cases appear here by themselves.",
    "taken": "Another reader was quicker, or the case has left the worklist. Press N for the next one.",
    "final": "The time to undo has passed and the result is final. What is to be said can be added below.",
    "signed-out": "You are signed out.",
}


def words_of(reasons: tuple[str, ...]) -> tuple[Words, ...]:
    """Return the words for the reasons of a workitem; never empty."""
    known = [REASONS[Reason(reason)] for reason in reasons if reason in tuple(Reason)]
    return tuple(dict.fromkeys(known)) or (IN_TURN,)
