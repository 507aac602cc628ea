"""A phantom as a DX or CR object: a valid file with a plausible header that says it is made."""

import hashlib
from io import BytesIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from training.phantoms.film import Phantom

#: Root for UIDs made from a hash: "2.25." and a number of 122 bits, as ITU-T X.667 has it for version 4 and 8 UUIDs.
ROOT = "2.25."


def uid(phantom: Phantom, level: str) -> str:
    """Return the UID of the phantom's study, series or instance; the same phantom has the same UIDs everywhere."""
    rows = phantom.stored.shape[0]
    key = f"demur phantom/{phantom.seed}/{phantom.site}/{phantom.index}/{rows}/{phantom.stratum}/{level}"
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "big")
    # Version 8 (made by a custom hash), variant RFC 9562.
    number = number & ~(0xF << 76) | 0x8 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return f"{ROOT}{number}"


def dicom_bytes(phantom: Phantom, *, modality: str) -> bytes:
    """Return the phantom as a DICOM file, modality ``DX`` or ``CR``, explicit VR little endian."""
    ds = Dataset()
    is_dx = modality == "DX"
    patient(ds, phantom)
    study(ds, phantom, modality)
    image(ds, phantom)
    if is_dx:
        digital(ds, phantom)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID("2.25.302939817193441266164411127397912519361")
    meta.ImplementationVersionName = "DEMUR_PHANTOM"
    ds.file_meta = meta
    target = BytesIO()
    ds.save_as(target, enforce_file_format=True)
    return target.getvalue()


def patient(ds: Dataset, phantom: Phantom) -> None:
    """Fill the patient module."""
    who = phantom.patient
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName = f"PHANTOM^{phantom.site.upper()}^{phantom.index:06d}"
    ds.PatientID = phantom.name
    ds.PatientBirthDate = ""
    ds.PatientSex = "F" if who.female else "M"
    ds.PatientAge = f"{who.age:03d}Y"
    ds.PatientOrientation = ["L", "F"]


def study(ds: Dataset, phantom: Phantom, modality: str) -> None:
    """Fill the study, series and equipment modules."""
    ds.StudyInstanceUID = uid(phantom, "study")
    ds.SeriesInstanceUID = uid(phantom, "series")
    ds.SOPInstanceUID = uid(phantom, "instance")
    dx = modality == "DX"
    ds.SOPClassUID = DigitalXRayImageStorageForPresentation if dx else ComputedRadiographyImageStorage
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = ds.AcquisitionDate = "20260101"
    ds.StudyTime = ds.ContentTime = ds.AcquisitionTime = "120000"
    ds.AccessionNumber = f"P{phantom.index:06d}"
    ds.ReferringPhysicianName = ""
    ds.StudyID = str(phantom.index)
    ds.SeriesNumber = ds.InstanceNumber = 1
    ds.StudyDescription = "CHEST PHANTOM"
    ds.Modality = modality
    ds.Manufacturer = "DEMUR PHANTOM WORKS"
    ds.InstitutionName = phantom.site.upper()
    ds.StationName = phantom.site.upper()
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = phantom.patient.view
    ds.ImageComments = "Made by a simulation; no human being was exposed."


def image(ds: Dataset, phantom: Phantom) -> None:
    """Fill the image pixel and VOI LUT modules."""
    rows, columns = phantom.stored.shape
    spacing = f"{phantom.field_mm / rows:.6f}"
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.DerivationDescription = "Simulated radiograph"
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME1" if phantom.inverted else "MONOCHROME2"
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, phantom.bits, phantom.bits - 1
    ds.PixelRepresentation = 0
    ds.ImagerPixelSpacing = [spacing, spacing]
    ds.WindowCenter, ds.WindowWidth = (f"{value:.1f}" for value in phantom.window)
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    ds.PixelData = phantom.stored.astype("<u2", copy=False).tobytes()


def digital(ds: Dataset, phantom: Phantom) -> None:
    """Fill what a DX image for presentation must have and a CR image has not."""
    ds.ImageType = ["DERIVED", "PRIMARY", ""]
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.PresentationLUTShape = "INVERSE" if phantom.inverted else "IDENTITY"
    ds.ImageLaterality = "U"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.PixelIntensityRelationship = "LOG"
    ds.PixelIntensityRelationshipSign = 1 if phantom.inverted else -1
    ds.DetectorType = "SCINTILLATOR"
    ds.AcquisitionContextSequence = Sequence()
    chest = Dataset()
    chest.CodeValue, chest.CodingSchemeDesignator, chest.CodeMeaning = "51185008", "SCT", "Chest"
    ds.AnatomicRegionSequence = Sequence([chest])
    view = Dataset()
    ap = phantom.patient.view == "AP"
    view.CodeValue, view.CodingSchemeDesignator = ("399348003" if ap else "399127005"), "SCT"
    view.CodeMeaning = "antero-posterior" if ap else "postero-anterior"
    view.ViewModifierCodeSequence = Sequence()
    ds.ViewCodeSequence = Sequence([view])
    ds.PatientOrientation = ["L", "F"]
