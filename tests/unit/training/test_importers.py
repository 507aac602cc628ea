"""Published data sets, made small in their published shape: real pictures, real DICOM files, the tables as they come."""

import csv
import gzip
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from models.errors import DataError, InputError
from models.films import read_film
from models.studies import StudyRow, StudyTable, read_study_table
from models.vocabulary import Label, Split
from training.importers.catalogue import import_data_set, source_of
from training.importers.names import DataSet
from training.importers.source import Source
from training.splits import SplitPlan, split_of

HEALTHY, ABNORMAL = Label.HEALTHY, Label.ABNORMAL


def picture(path: Path, *, rows: int = 24, columns: int = 32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(rows * columns, dtype=np.uint32).reshape(rows, columns).astype(np.uint8)).save(path)


def dicom(path: Path, *, view: str = "PA", age: bytes = b"061Y", rows: int = 24, columns: int = 32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.PatientID, ds.Modality, ds.ViewPosition = "someone", "DX", view
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = rows, columns, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = np.arange(rows * columns, dtype="<u2").tobytes()
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.file_meta = meta
    ds.PatientAge = "999Y"
    ds.save_as(path, enforce_file_format=True)
    # The age is put in as bytes: published files have ages that no writer of today would write.
    path.write_bytes(path.read_bytes().replace(b"999Y", age.ljust(4)))


def table(path: Path, heading: str | Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(heading.split(",") if isinstance(heading, str) else heading)
    writer.writerows(rows)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def imported(data_set: DataSet, root: Path, *, partial: bool = False) -> tuple[dict[str, StudyRow], Source]:
    """Import, and return what a reader of the table sees, by study."""
    source = source_of(data_set, root, root.parent / "out" / "studies.csv")
    source.partial = partial
    written = import_data_set(data_set, source, lambda: None)
    read = read_study_table(source.out)
    assert read == StudyTable(rows=written.rows, digest=read.digest)
    for row in read:
        read_film(row.path.read_bytes(), row.view, row.age_years)
    return {row.study: row for row in read}, source


def refused(data_set: DataSet, root: Path) -> str:
    out = root.parent / "out" / "studies.csv"
    with pytest.raises((DataError, InputError)) as fault:
        import_data_set(data_set, source_of(data_set, root, out), lambda: None)
    assert not out.exists()
    return str(fault.value)


NIH_HEADING = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
NIH_ROWS = (
    ("00000001_000.png", "Cardiomegaly", 0, 1, "058Y", "M", "PA"),
    ("00000001_001.png", "Cardiomegaly|Emphysema", 1, 1, "58", "M", "PA"),
    ("00000002_000.png", "No Finding", 0, 2, 81, "M", "AP"),
    ("00000003_000.png", "", 0, 3, 411, "F", "PA"),
    ("00000004_000.png", "No Finding", 0, 4, "018M", "F", ""),
    ("00000005_000.png", "Infiltration|Pneumonia", 0, 5, 70, "F", "PA"),
)


@pytest.fixture
def nih(tmp_path: Path) -> Path:
    root = tmp_path / "nih"
    for number, row in enumerate(NIH_ROWS):
        picture(root / f"images_{number % 2 + 1:03d}" / "images" / row[0])
    table(root / "Data_Entry_2017.csv", NIH_HEADING, [(*row, 2682, 2749, 0.143, 0.143, "") for row in NIH_ROWS])
    return root


def test_nih_labels_follow_the_findings(nih: Path) -> None:
    rows, source = imported(DataSet.NIH, nih)
    assert {study: (row.label, row.stratum) for study, row in rows.items()} == {
        "nih-00000001_000": (ABNORMAL, "cardiomegaly"),
        "nih-00000001_001": (ABNORMAL, "several"),
        "nih-00000002_000": (HEALTHY, ""),
        "nih-00000003_000": (None, ""),
        "nih-00000004_000": (None, ""),
        "nih-00000005_000": (ABNORMAL, "pneumonia"),
    }
    assert source.unlabelled == {"nothing is said": 1, "no finding, but the view is not known": 1}
    assert {row.site for row in rows.values()} == {"nih_cc"}
    assert rows["nih-00000001_000"].patient == rows["nih-00000001_001"].patient == "nih-1"


def test_nih_ages_have_units_and_impossible_ones_are_not_believed(nih: Path) -> None:
    rows, source = imported(DataSet.NIH, nih)
    assert [row.age_years for row in rows.values()] == [58, 58, 81, None, 1.5, 70]
    assert source.notes == {"age cannot be true: left empty": 1}


def test_nih_without_lists_is_split_by_patient(nih: Path) -> None:
    rows, _ = imported(DataSet.NIH, nih)
    assert all(row.split for row in rows.values())
    # Of the patient alone, so that a patient of two data sets has one split.
    assert all(row.split is split_of("", row.patient, SplitPlan()) for row in rows.values())


def test_nih_lists_decide_what_is_test_and_tune_comes_from_train(nih: Path) -> None:
    (nih / "train_val_list.txt").write_text("\n".join(row[0] for row in NIH_ROWS[:4]))
    (nih / "test_list.txt").write_text("\n".join(row[0] for row in NIH_ROWS[4:]))
    splits = [row.split for row in imported(DataSet.NIH, nih)[0].values()]
    assert set(splits[:4]) <= {Split.TRAIN, Split.TUNE}
    assert splits[4:] == [Split.TEST, Split.TEST]


def test_nih_tells_of_an_image_in_neither_list_and_of_a_lone_list(nih: Path) -> None:
    (nih / "train_val_list.txt").write_text(NIH_ROWS[0][0])
    assert "test_list.txt" in refused(DataSet.NIH, nih)
    (nih / "test_list.txt").write_text("")
    assert "00000001_001.png is neither in train_val_list.txt" in refused(DataSet.NIH, nih)


def test_nih_boxes_become_a_mask_only_if_every_finding_has_one(nih: Path) -> None:
    # The published heading falls into nine cells, its rows into six.
    heading = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
    boxes = (
        ("00000001_000.png", "Cardiomegaly", 4.2, 5.9, 10.0, 8.0),
        ("00000001_001.png", "Cardiomegaly", 1, 1, 9, 9),
    )
    table(nih / "BBox_List_2017.csv", heading, boxes)
    rows, source = imported(DataSet.NIH, nih)
    mask_path = rows["nih-00000001_000"].mask
    assert mask_path is not None
    mask = np.asarray(Image.open(mask_path))
    expected = np.zeros((24, 32), np.uint8)
    expected[6:14, 4:14] = 255
    assert np.array_equal(mask, expected)
    assert rows["nih-00000001_001"].mask is None
    assert source.notes["boxes for some of the findings only: no mask"] == 1


def test_nih_box_outside_its_image_is_told(nih: Path) -> None:
    box = ("00000001_000.png", "Cardiomegaly", 400, 500, 10, 10)
    table(nih / "BBox_List_2017.csv", "Image Index,Finding Label,Bbox [x,y,w,h],,,", [box])
    assert "outside its image of 32 x 24" in refused(DataSet.NIH, nih)


def test_nih_finding_that_is_not_known_is_told(nih: Path) -> None:
    row = ("00000001_000.png", "Cardiomegaly|Gremlin", 0, 1, 58, "M", "PA", 1, 1, 1, 1, "")
    table(nih / "Data_Entry_2017.csv", NIH_HEADING, [row])
    assert refused(DataSet.NIH, nih) == "Data_Entry_2017.csv: row 1, column 'Finding Labels': 'Gremlin' is unknown"


def test_an_absent_image_is_named_or_left_out_of_a_partial_copy(nih: Path) -> None:
    (nih / "images_001" / "images" / "00000002_000.png").unlink()
    assert "row 3: the image 00000002_000.png is absent" in refused(DataSet.NIH, nih)
    rows, source = imported(DataSet.NIH, nih, partial=True)
    assert len(rows) == 5
    assert source.left_out == {"image is absent": 1}


def test_an_image_that_is_there_twice_is_told(nih: Path) -> None:
    picture(nih / "images_009" / "00000002_000.png")
    assert "the image 00000002_000.png is there twice" in refused(DataSet.NIH, nih)


def test_a_missing_table_or_column_or_folder_is_named(tmp_path: Path, nih: Path) -> None:
    (nih / "Data_Entry_2017.csv").write_text("Image Index,Finding Labels\n")
    assert refused(DataSet.NIH, nih) == "Data_Entry_2017.csv: the column 'Patient ID' is missing"
    (nih / "Data_Entry_2017.csv").unlink()
    assert "no file Data_Entry_2017_v2020.csv or Data_Entry_2017*.csv" in refused(DataSet.NIH, nih)
    with pytest.raises(DataError, match="no such folder"):
        source_of(DataSet.NIH, tmp_path / "nowhere", tmp_path / "studies.csv")


def test_a_data_set_without_one_image_writes_nothing(nih: Path) -> None:
    table(nih / "Data_Entry_2017.csv", NIH_HEADING, [])
    assert "its tables are empty" in refused(DataSet.NIH, nih)


CHEXPERT_FINDINGS = (
    "Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,"
    "Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
CHEXPERT_HEADING = f"Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,{CHEXPERT_FINDINGS}"


def observations(**said: float) -> list[str]:
    """Return the 14 cells; ``No_Finding=1.0`` and so on."""
    names = ["No Finding", *CHEXPERT_FINDINGS.split(",")]
    return [str(said.get(name.replace(" ", "_"), "")) for name in names]


def chexpert_row(path: str, age: int, view: str, side: str, **said: float) -> list[str]:
    return [f"CheXpert-v1.0-small/{path}", "Female", str(age), side, view, *observations(**said)]


@pytest.fixture
def chexpert(tmp_path: Path) -> Path:
    root = tmp_path / "chexpert"
    train = [
        chexpert_row(
            "train/patient00001/study1/view1_frontal.jpg", 68, "AP", "Frontal", No_Finding=1.0, Support_Devices=1.0
        ),
        chexpert_row(
            "train/patient00002/study2/view1_frontal.jpg", 87, "PA", "Frontal", Lung_Opacity=1.0, Pneumonia=1.0
        ),
        chexpert_row("train/patient00002/study2/view2_lateral.jpg", 87, "", "Lateral", Lung_Opacity=1.0, Pneumonia=1.0),
        chexpert_row("train/patient00003/study1/view1_frontal.jpg", 0, "PA", "Frontal", Edema=-1.0, Pneumothorax=0.0),
        chexpert_row("train/patient00004/study1/view1_frontal.jpg", 41, "PA", "Frontal", No_Finding=1.0),
        chexpert_row(
            "train/patient00005/study1/view1_frontal.jpg", 41, "PA", "Frontal", Pleural_Effusion=1.0, Edema=-1.0
        ),
        chexpert_row("train/patient00006/study1/view1_frontal.jpg", 41, "PA", "Frontal", Pneumothorax=0.0),
        chexpert_row("train/patient00007/study1/view1_frontal.jpg", 41, "PA", "Frontal", No_Finding=1.0, Fracture=1.0),
        chexpert_row("train/patient00008/study1/view1_frontal.jpg", 41, "PA", "Frontal", No_Finding=1.0, Edema=-1.0),
    ]
    valid = [chexpert_row("valid/patient64541/study1/view1_frontal.jpg", 73, "AP", "Frontal", No_Finding=1.0)]
    for name, rows in (("train.csv", train), ("valid.csv", valid)):
        table(root / name, CHEXPERT_HEADING, rows)
        for row in rows:
            picture(root / row[0].partition("/")[2])
    return root


def test_chexpert_doubt_and_silence_are_neither_healthy_nor_abnormal(chexpert: Path) -> None:
    rows, source = imported(DataSet.CHEXPERT, chexpert)
    assert {study.removeprefix("chexpert-"): (row.label, row.stratum) for study, row in rows.items()} == {
        "patient00001-study1": (ABNORMAL, "foreign_device"),
        "patient00002-study2": (ABNORMAL, "pneumonia"),
        "patient00003-study1": (None, ""),
        "patient00004-study1": (HEALTHY, ""),
        "patient00005-study1": (ABNORMAL, "effusion"),
        "patient00006-study1": (None, ""),
        "patient00007-study1": (None, ""),
        "patient00008-study1": (None, ""),
        "patient64541-study1": (HEALTHY, ""),
    }
    assert source.unlabelled == {"uncertain": 1, "nothing is said": 1, "contradicts itself": 2}
    assert source.left_out == {"view is not frontal": 1}


def test_chexpert_age_zero_is_not_known_and_splits_are_the_published_ones(chexpert: Path) -> None:
    rows, _ = imported(DataSet.CHEXPERT, chexpert)
    assert rows["chexpert-patient00003-study1"].age_years is None
    assert rows["chexpert-patient00004-study1"].age_years == 41
    assert rows["chexpert-patient64541-study1"].split is Split.TUNE
    assert rows["chexpert-patient00004-study1"].split is Split.TRAIN


def test_chexpert_with_its_own_folder_inside_is_found_too(chexpert: Path) -> None:
    inner = chexpert / "CheXpert-v1.0-small"
    inner.mkdir()
    (chexpert / "train").rename(inner / "train")
    (chexpert / "valid").rename(inner / "valid")
    assert len(imported(DataSet.CHEXPERT, chexpert)[0]) == 9


@pytest.mark.parametrize(
    ("heading", "row", "told"),
    [
        (f"{CHEXPERT_HEADING},Scoliosis", [*chexpert_row("train/patient1/study1/a.jpg", 1, "PA", "Frontal"), "1"], "'Scoliosis' is unknown"),
        (CHEXPERT_HEADING, chexpert_row("train/patient1/study1/a.jpg", 1, "PA", "Frontal", Edema=2.0), "row 1, column 'Edema': '2.0' is none of"),
        (CHEXPERT_HEADING, chexpert_row("train/patient1/study1/a.jpg", 1, "PA", "Oblique"), "'Oblique' is none of Frontal, Lateral"),
        (CHEXPERT_HEADING, chexpert_row("nobody/a.jpg", 1, "PA", "Frontal"), "is not .../patientN/studyN/NAME"),
        (CHEXPERT_HEADING, ["a"], "row 1: 1 cells; the heading has 19"),
    ],
)  # fmt: skip
def test_chexpert_tells_what_it_does_not_understand(tmp_path: Path, heading: str, row: list[str], told: str) -> None:
    root = tmp_path / "chexpert"
    picture(root / "train/patient1/study1/a.jpg")
    table(root / "train.csv", heading, [row])
    assert told in refused(DataSet.CHEXPERT, root)


MIMIC_META = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
    "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
)
MIMIC_IMAGES = (
    ("02aa804e-bde0afdd", 10000032, 50414267, "PA", "train"),
    ("174413ec-4ec4c1f7", 10000032, 50414267, "LATERAL", "train"),
    ("2a2277a9-b0ded155", 10000032, 53189527, "AP", "train"),
    ("e084de3b-be89b11e", 10000764, 57375967, "AP", "validate"),
    ("68b5c4b1-227d0485", 10000898, 50771383, "PA", "test"),
    ("aaaaaaaa-227d0485", 10000898, 50771383, "", "test"),
    ("bbbbbbbb-227d0485", 10000935, 51178377, "PA", "test"),
)


@pytest.fixture
def mimic(tmp_path: Path) -> Path:
    root = tmp_path / "mimic"
    for image, subject, study, view, _ in MIMIC_IMAGES:
        if view in ("AP", "PA"):
            picture(root / f"files/p{str(subject)[:2]}/p{subject}/s{study}/{image}.jpg")
    meta = [
        (image, subject, study, "CHEST", view, 3056, 2544, 21800506, 213014.5, "", "", "")
        for image, subject, study, view, _ in MIMIC_IMAGES
    ]
    table(root / "mimic-cxr-2.0.0-metadata.csv.gz", MIMIC_META, meta)
    splits = [(image, study, subject, split) for image, subject, study, _, split in MIMIC_IMAGES]
    table(root / "mimic-cxr-2.0.0-split.csv.gz", "dicom_id,study_id,subject_id,split", splits)
    labelled(
        root,
        "chexpert",
        {
            50414267: {"No_Finding": 1.0},
            53189527: {"Edema": 1.0},
            57375967: {"Pneumonia": 1.0},
            50771383: {"No_Finding": 1.0},
        },
    )
    return root  # fmt: skip


def labelled(root: Path, labeller: str, said: dict[int, dict[str, float]]) -> None:
    subjects = {study: subject for _, subject, study, _, _ in MIMIC_IMAGES}
    # MIMIC has the findings in the alphabet's order, CheXpert in another.
    names = sorted(["No Finding", *CHEXPERT_FINDINGS.split(",")])
    rows = [
        [subjects[study], study, *(one.get(name.replace(" ", "_"), "") for name in names)]
        for study, one in said.items()
    ]
    table(root / f"mimic-cxr-2.0.0-{labeller}.csv.gz", ["subject_id", "study_id", *names], rows)


def test_mimic_with_one_labeller_follows_it(mimic: Path) -> None:
    rows, source = imported(DataSet.MIMIC, mimic)
    assert {study: (row.label, row.stratum, row.split) for study, row in rows.items()} == {
        "mimic-50414267": (HEALTHY, "", Split.TRAIN),
        "mimic-53189527": (ABNORMAL, "edema", Split.TRAIN),
        "mimic-57375967": (ABNORMAL, "pneumonia", Split.TUNE),
        "mimic-50771383": (HEALTHY, "", Split.TEST),
        "mimic-51178377": (None, "", Split.TEST),
    }
    assert source.left_out == {"view is not frontal": 1, "view is not known": 1}
    assert rows["mimic-50414267"].patient == rows["mimic-53189527"].patient == "mimic-10000032"
    assert all(row.age_years is None for row in rows.values())


def test_mimic_labellers_that_disagree_leave_no_label(mimic: Path) -> None:
    labelled(
        mimic,
        "negbio",
        {50414267: {"No_Finding": 1.0}, 53189527: {"Edema": 1.0, "Fracture": -1.0}, 57375967: {"No_Finding": 1.0}},
    )
    rows, source = imported(DataSet.MIMIC, mimic)  # fmt: skip
    assert [row.label for row in rows.values()] == [HEALTHY, ABNORMAL, None, None, None]
    assert source.unlabelled == {"uncertain": 1, "contradicts itself": 1, "nothing is said": 1}


def test_mimic_image_that_the_splits_do_not_list_is_told(mimic: Path) -> None:
    table(mimic / "mimic-cxr-2.0.0-split.csv.gz", "dicom_id,study_id,subject_id,split", [("x", 1, 1, "train")])
    assert "02aa804e-bde0afdd is not in the table of splits" in refused(DataSet.MIMIC, mimic)


def test_mimic_of_two_releases_in_one_folder_is_told(mimic: Path) -> None:
    table(mimic / "mimic-cxr-2.1.0-metadata.csv.gz", MIMIC_META, [])
    assert "more than one mimic-cxr-*-metadata.csv*" in refused(DataSet.MIMIC, mimic)


def test_a_packed_table_that_is_cut_off_is_told(mimic: Path) -> None:
    path = mimic / "mimic-cxr-2.0.0-metadata.csv.gz"
    path.write_bytes(path.read_bytes()[:-12])
    assert "mimic-cxr-2.0.0-metadata.csv.gz: not a CSV table" in refused(DataSet.MIMIC, mimic)


PADCHEST_HEADING = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,"
    "MethodProjection,Pediatric,MethodLabel,Labels,Localizations"
)


def padchest_row(
    number: int, labels: str, *, view: str = "PA", born: object = 1930.0, study: int | None = None
) -> tuple[object, ...]:
    return (
        number, f"{number}.png", 0, 20140915, study or number, f"p{number if study is None else study}", born, "F", "POSTEROANTERIOR",
        view, "Manual", "No", "Physician" if number % 2 else "RNN_model", labels, "[]",
    )  # fmt: skip


@pytest.fixture
def padchest(tmp_path: Path) -> Path:
    root = tmp_path / "padchest"
    rows = [
        padchest_row(1, "[' Normal ']"),
        padchest_row(2, "['pleural effusion', 'Costophrenic angle blunting ', '']"),
        padchest_row(3, "['normal', 'suboptimal study']"),
        padchest_row(4, "['unchanged']", view="AP_horizontal", born=""),
        padchest_row(5, "", view="AP"),
        padchest_row(6, "['exclude']"),
        padchest_row(7, "['normal']", view="L", study=1),
        padchest_row(8, "['pacemaker', 'normal']", born=2020.0),
        padchest_row(9, "['hilar enlargement']", born="unknown"),
        padchest_row(10, "['nodule']", study=20),
        padchest_row(11, "['normal']", study=20),
    ]
    table(root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz", PADCHEST_HEADING, rows)
    for number in range(1, 12):
        place = root / "0" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((24, 32), 40_000, np.uint16)).save(place)  # as published: 16 bits
    return root


def test_padchest_labels_follow_the_list_of_words(padchest: Path) -> None:
    rows, source = imported(DataSet.PADCHEST, padchest)
    assert {study: (row.label, row.stratum, row.view) for study, row in rows.items()} == {
        "padchest-1": (HEALTHY, "", "PA"),
        "padchest-2": (ABNORMAL, "several", "PA"),
        "padchest-3": (None, "", "PA"),
        "padchest-4": (None, "", "AP"),
        "padchest-5": (None, "", "AP"),
        "padchest-8": (None, "", "PA"),
        "padchest-9": (ABNORMAL, "hilar_enlargement", "PA"),
        "padchest-20": (None, "", "PA"),
    }
    assert source.left_out == {"excluded by the readers": 1, "view is not frontal": 1}
    assert source.unlabelled["images of the study disagree"] == 2
    assert source.notes["labels by Physician"] == 5


def test_padchest_age_is_of_the_years_and_impossible_ones_are_left_empty(padchest: Path) -> None:
    rows, source = imported(DataSet.PADCHEST, padchest)
    ages = {study: row.age_years for study, row in rows.items()}
    assert (ages["padchest-1"], ages["padchest-4"], ages["padchest-8"], ages["padchest-9"]) == (84, None, None, None)
    assert source.notes["age cannot be true: left empty"] == 2


@pytest.mark.parametrize("labels", ["normal", "['normal'", "{'normal': 1}", "[1]", "__import__('os')"])
def test_padchest_labels_that_are_no_list_of_words_are_told(tmp_path: Path, labels: str) -> None:
    root = tmp_path / "padchest"
    picture(root / "0" / "1.png")
    table(root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", PADCHEST_HEADING, [padchest_row(1, labels)])
    assert "row 1, column 'Labels'" in refused(DataSet.PADCHEST, root)


VINDR_FINDINGS = (
    "Aortic enlargement,Atelectasis,Calcification,Cardiomegaly,Clavicle fracture,Consolidation,Edema,Emphysema,"
    "Enlarged PA,ILD,Infiltration,Lung Opacity,Lung cavity,Lung cyst,Mediastinal shift,Nodule/Mass,Pleural effusion,"
    "Pleural thickening,Pneumothorax,Pulmonary fibrosis,Rib fracture,Other lesion,COPD,Lung tumor,Pneumonia,Tuberculosis"
)


def vindr_cells(last: str, *named: str) -> list[int]:
    return [int(name in named) for name in (*VINDR_FINDINGS.split(","), last, "No finding")]


@pytest.fixture
def vindr(tmp_path: Path) -> Path:
    root = tmp_path / "vindr"
    read = {
        "agreed": (("No finding",), ("No finding",), ("No finding",)),
        "ill": (("Nodule/Mass",), ("Nodule/Mass", "Calcification"), ("Calcification", "Nodule/Mass")),
        "single": (("ILD",), ("ILD",), ("Other diseases",)),
        "scattered": (("ILD",), ("COPD",), ("Edema",)),
        "disputed": (("No finding",), ("No finding",), ("Atelectasis",)),
        "silent": ((), (), ()),
    }
    rows = [
        [image, f"R{n}", *vindr_cells("Other diseases", *one)]
        for image, said in read.items()
        for n, one in enumerate(said)
    ]
    table(
        root / "annotations/image_labels_train.csv", f"image_id,rad_id,{VINDR_FINDINGS},Other diseases,No finding", rows
    )
    table(
        root / "annotations/image_labels_test.csv",
        f"image_id,{VINDR_FINDINGS},Other disease,No finding",
        [
            ["consensus", *vindr_cells("Other disease", "Other disease")],
            ["clear", *vindr_cells("Other disease", "No finding")],
        ],
    )
    boxes = (
        ("ill", "R0", "Nodule/Mass", 2, 3, 8, 9), ("ill", "R1", "Calcification", 20, 3, 22, 5),
        ("agreed", "R0", "No finding", "", "", "", ""), ("disputed", "R2", "Atelectasis", 1, 1, 9, 9),
    )  # fmt: skip
    table(root / "annotations/annotations_train.csv", "image_id,rad_id,class_name,x_min,y_min,x_max,y_max", boxes)
    for image in read:
        dicom(root / "train" / f"{image}.dicom", view="", age=b"000Y" if image == "ill" else b"061Y")
    dicom(root / "test" / "consensus.dicom")
    picture(root / "test" / "clear.png")
    return root


def test_vindr_readers_must_agree(vindr: Path) -> None:
    rows, source = imported(DataSet.VINDR, vindr)
    assert {study.removeprefix("vindr-"): (row.label, row.stratum, row.split) for study, row in rows.items()} == {
        "agreed": (HEALTHY, "", Split.TRAIN),
        "ill": (ABNORMAL, "several", Split.TRAIN),
        "single": (ABNORMAL, "interstitial", Split.TRAIN),
        "scattered": (ABNORMAL, "other", Split.TRAIN),
        "disputed": (None, "", Split.TRAIN),
        "silent": (None, "", Split.TRAIN),
        "consensus": (ABNORMAL, "other", Split.TEST),
        "clear": (HEALTHY, "", Split.TEST),
    }
    assert source.unlabelled == {"readers disagree": 1, "nothing is said": 1}
    assert {row.view for row in rows.values()} == {"PA"}


def test_vindr_age_and_mask_come_from_header_and_boxes(vindr: Path) -> None:
    rows, _ = imported(DataSet.VINDR, vindr)
    ages = [rows[f"vindr-{image}"].age_years for image in ("agreed", "ill", "clear")]
    assert ages == [61, None, None]
    assert [study for study, row in rows.items() if row.mask] == ["vindr-ill"]
    mask = rows["vindr-ill"].mask
    assert mask is not None
    assert np.count_nonzero(np.asarray(Image.open(mask))) == 6 * 6 + 2 * 2


def test_vindr_column_that_may_be_a_finding_is_not_lost(vindr: Path) -> None:
    table(vindr / "annotations/image_labels_train.csv", f"image_id,rad_id,{VINDR_FINDINGS},Gremlin,No finding", [])
    assert "the column 'Gremlin' is unknown" in refused(DataSet.VINDR, vindr)


def test_vindr_file_that_is_no_dicom_is_told(vindr: Path) -> None:
    (vindr / "train" / "ill.dicom").write_bytes(b"not a film at all" * 100)
    assert "ill.dicom" in refused(DataSet.VINDR, vindr)


RSNA = (
    ("aaa", "Normal", "PA", b"51"),
    ("bbb", "Lung Opacity", "AP", b"32"),
    ("ccc", "No Lung Opacity / Not Normal", "AP", b"148"),
    ("ddd", "Normal", "", b""),
    ("eee", "Normal", "LL", b"20"),
)


@pytest.fixture
def rsna(tmp_path: Path) -> Path:
    root = tmp_path / "rsna"
    labels = []
    for image, kind, view, age in RSNA:
        boxes = ((4, 5, 6, 7), (20.0, 1.0, 3.0, 3.0)) if kind == "Lung Opacity" else (("", "", "", ""),)
        labels += [(image, *box, int(kind == "Lung Opacity")) for box in boxes]
        dicom(root / "stage_2_train_images" / f"{image}.dcm", view=view, age=age)
    table(root / "stage_2_train_labels.csv", "patientId,x,y,width,height,Target", labels)
    classes = [(image, kind) for image, kind, *_ in RSNA for _ in range(2 if kind == "Lung Opacity" else 1)]
    table(root / "stage_2_detailed_class_info.csv", "patientId,class", classes)
    return root


def test_rsna_classes_become_labels_and_boxes_masks(rsna: Path) -> None:
    rows, source = imported(DataSet.RSNA, rsna)
    assert {study: (row.label, row.stratum, row.view, row.age_years) for study, row in rows.items()} == {
        "rsna-aaa": (HEALTHY, "", "PA", 51),
        "rsna-bbb": (ABNORMAL, "lung_opacity", "AP", 32),
        "rsna-ccc": (ABNORMAL, "other", "AP", None),
        "rsna-ddd": (None, "", "", None),
    }
    assert source.left_out == {"view is not frontal": 1}
    mask = rows["rsna-bbb"].mask
    assert mask is not None
    assert np.count_nonzero(np.asarray(Image.open(mask))) == 6 * 7 + 3 * 3
    assert [row.mask for row in rows.values()].count(None) == 3


def test_rsna_patients_are_those_of_nih_where_the_origins_are_told(rsna: Path) -> None:
    origins = [{"subset_img_id": image, "img_id": f"0000000{n // 2}_00{n}.png"} for n, (image, *_) in enumerate(RSNA)]
    (rsna / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(origins))
    rows, source = imported(DataSet.RSNA, rsna)
    assert [row.patient for row in rows.values()] == ["nih-0", "nih-0", "nih-1", "nih-1"]
    assert not [note for note in source.notes if note.startswith("patients")]
    (rsna / "pneumonia-challenge-dataset-mappings_2018.json").write_text('{"subset_img_id": 1}')
    source.out.unlink()
    assert "not a list of subset_img_id" in refused(DataSet.RSNA, rsna)


def test_rsna_tables_that_contradict_each_other_are_told(rsna: Path) -> None:
    table(rsna / "stage_2_detailed_class_info.csv", "patientId,class", [("aaa", "Lung Opacity")])
    assert "0 for an image of the class 'Lung Opacity'" in refused(DataSet.RSNA, rsna)
    table(rsna / "stage_2_detailed_class_info.csv", "patientId,class", [("aaa", "Normal"), ("aaa", "Lung Opacity")])
    assert "row 2, column 'class'" in refused(DataSet.RSNA, rsna)
    table(rsna / "stage_2_detailed_class_info.csv", "patientId,class", [("aaa", "Normal")])
    assert "bbb is not in stage_2_detailed_class_info.csv" in refused(DataSet.RSNA, rsna)


def test_rsna_file_that_is_no_dicom_is_told(rsna: Path) -> None:
    (rsna / "stage_2_train_images" / "aaa.dcm").write_bytes(b"no")
    assert "aaa.dcm" in refused(DataSet.RSNA, rsna)


def test_no_key_is_shared_between_data_sets_but_of_the_same_person(
    nih: Path, chexpert: Path, padchest: Path, vindr: Path, rsna: Path
) -> None:
    folders = {
        DataSet.NIH: nih,
        DataSet.CHEXPERT: chexpert,
        DataSet.PADCHEST: padchest,
        DataSet.VINDR: vindr,
        DataSet.RSNA: rsna,
    }
    for data_set, folder in folders.items():
        rows, _ = imported(data_set, folder)
        assert all(key.startswith(f"{data_set}-") for row in rows.values() for key in (row.study, row.patient))


def test_every_partial_copy_gives_what_it_has(
    nih: Path, chexpert: Path, mimic: Path, padchest: Path, vindr: Path, rsna: Path
) -> None:
    absent = {
        DataSet.NIH: nih / "images_001/images/00000001_000.png",
        DataSet.CHEXPERT: chexpert / "train/patient00001/study1/view1_frontal.jpg",
        DataSet.MIMIC: mimic / "files/p10/p10000032/s50414267/02aa804e-bde0afdd.jpg",
        DataSet.PADCHEST: padchest / "0/1.png",
        DataSet.VINDR: vindr / "train/agreed.dicom",
        DataSet.RSNA: rsna / "stage_2_train_images/aaa.dcm",
    }
    for data_set, path in absent.items():
        root = {str(place): place for place in (nih, chexpert, mimic, padchest, vindr, rsna)}[
            str(nih.parent / data_set)
        ]
        whole, _ = imported(data_set, root)
        path.unlink()
        (nih.parent / "out" / "studies.csv").unlink()
        assert path.name in refused(data_set, root)
        rows, source = imported(data_set, root, partial=True)
        assert len(rows) == len(whole) - 1
        assert source.left_out["image is absent"] == 1


def test_nih_box_list_says_infiltrate_for_infiltration(nih: Path) -> None:
    table(
        nih / "Data_Entry_2017.csv",
        NIH_HEADING,
        [("00000001_000.png", "Infiltration", 0, 1, 9, "M", "PA", *"1111", "")],
    )
    table(
        nih / "BBox_List_2017.csv",
        "Image Index,Finding Label,Bbox [x,y,w,h],,,",
        [("00000001_000.png", "Infiltrate", 1, 1, 9, 9)],
    )
    assert imported(DataSet.NIH, nih)[0]["nih-00000001_000"].mask is not None


def test_a_box_that_is_no_number_is_told(nih: Path) -> None:
    table(
        nih / "BBox_List_2017.csv",
        "Image Index,Finding Label,Bbox [x,y,w,h],,,",
        [("00000001_000.png", "Mass", "left", 1, 9, 9)],
    )
    assert refused(DataSet.NIH, nih) == "BBox_List_2017.csv: row 1, column 'Bbox [x': 'left' is not a number"


def test_a_view_that_is_not_frontal_is_left_out_of_nih_too(nih: Path) -> None:
    rows = [(*row[:6], "LL" if row[3] == 5 else row[6], 1, 1, 1, 1, "") for row in NIH_ROWS]
    table(nih / "Data_Entry_2017.csv", NIH_HEADING, rows)
    found, source = imported(DataSet.NIH, nih)
    assert len(found) == 5
    assert source.left_out == {"view is not frontal": 1}


def test_vindr_can_be_its_train_or_its_test_part(vindr: Path) -> None:
    (vindr / "annotations/image_labels_train.csv").unlink()
    assert set(imported(DataSet.VINDR, vindr)[0]) == {"vindr-consensus", "vindr-clear"}
    (vindr / "annotations/image_labels_test.csv").rename(vindr / "image_labels_test.csv")
    assert len(imported(DataSet.VINDR, vindr)[0]) == 2
    (vindr / "image_labels_test.csv").unlink()
    (vindr.parent / "out" / "studies.csv").unlink()
    assert "no file annotations/image_labels_train.csv" in refused(DataSet.VINDR, vindr)
