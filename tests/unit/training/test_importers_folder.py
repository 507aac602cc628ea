"""A folder of films with a CSV, the folder of real radiographs, and what the verb tells."""

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid
from typer.testing import CliRunner

from models.errors import DataError, InputError
from models.studies import StudyRow, StudyTable, read_study_table
from models.vocabulary import Label, Split
from training.cli import app
from training.importers.catalogue import import_data_set, source_of
from training.importers.labels import Reading, judge, stratum_of, word
from training.importers.names import DataSet
from training.importers.source import Source


def picture(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 20), len(path.name), np.uint8)).save(path)
    return path.read_bytes()


def dicom(path: Path, *, patient: str, view: str, study: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study or generate_uid(), generate_uid()
    ds.PatientID, ds.PatientAge, ds.Modality, ds.ViewPosition = patient, "044Y", "DX", view
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 20, 20, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = bytes(800)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.save_as(path, enforce_file_format=True)


def imported(root: Path, data_set: DataSet = DataSet.FOLDER) -> tuple[StudyTable, Source]:
    source = source_of(data_set, root, root / "studies.csv")
    import_data_set(data_set, source, lambda: None)
    return read_study_table(source.out), source


def by_name(table: StudyTable) -> dict[str, StudyRow]:
    return {row.path.name: row for row in table}


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    root = tmp_path / "ward"
    study = generate_uid()
    dicom(root / "a.dcm", patient="Mustermann", view="PA", study=study)
    dicom(root / "b.dcm", patient="Mustermann", view="AP", study=study)
    dicom(root / "lateral.dcm", patient="Mustermann", view="LL", study=study)
    dicom(root / "unsaid.dcm", patient="Doe", view="")
    picture(root / "c.png")
    picture(root / "d.png")
    picture(root / "d-mask.png")
    (root / "list.csv").write_text(
        "path,label,stratum,patient,site,view,age_years,split,mask,study,severity\n"
        "a.dcm,healthy,,,,,,,,,\n"
        "b.dcm,healthy,,,,,,,,,\n"
        "lateral.dcm,healthy,,,,,,,,,\n"
        "unsaid.dcm,healthy,,,north,,,,,,\n"
        "c.png,,,p1,,PA,,tune,,,\n"
        "d.png,abnormal,nodule,p2,south,AP,012M,test,d-mask.png,s9,5.5\n"
    )
    return root


def test_what_the_table_leaves_open_comes_from_the_header(ward: Path) -> None:
    rows = by_name(imported(ward)[0])
    assert (rows["a.dcm"].view, rows["a.dcm"].age_years, rows["a.dcm"].label) == ("PA", 44, Label.HEALTHY)
    assert rows["a.dcm"].study == rows["b.dcm"].study
    assert rows["a.dcm"].patient == rows["b.dcm"].patient != rows["unsaid.dcm"].patient
    assert (rows["a.dcm"].site, rows["unsaid.dcm"].site, rows["d.png"].site) == ("ward", "north", "south")


def test_what_the_table_says_stands(ward: Path) -> None:
    row = by_name(imported(ward)[0])["d.png"]
    assert (row.patient, row.study, row.stratum, row.view, row.age_years) == ("ward-p2", "ward-s9", "nodule", "AP", 1)
    assert (row.split, row.severity, row.label, row.mask) == (Split.TEST, 5.5, Label.ABNORMAL, ward / "d-mask.png")


def test_no_identity_of_a_header_is_written(ward: Path) -> None:
    imported(ward)
    text = (ward / "studies.csv").read_text()
    assert "Mustermann" not in text
    assert "1.2.826" not in text


def test_a_film_whose_view_is_not_known_is_not_healthy_and_a_lateral_is_left_out(ward: Path) -> None:
    table, source = imported(ward)
    assert by_name(table)["unsaid.dcm"].label is None
    assert "lateral.dcm" not in by_name(table)
    assert source.left_out == {"view is not frontal": 1}
    assert source.unlabelled == {"no finding, but the view is not known": 1, "nothing is said": 1}


def test_a_film_without_patient_is_a_patient_of_its_own_and_that_is_told(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("path,label,view\na.png,healthy,PA\n")
    table, source = imported(tmp_path)
    assert table.rows[0].patient == table.rows[0].study == f"{tmp_path.name}-a.png"
    assert source.notes == {"patient is not known: taken for one of their own": 1}


def test_an_import_can_be_made_again_in_the_same_folder(ward: Path) -> None:
    assert imported(ward)[0] == imported(ward)[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("path,label,lable\nc.png,,\n", "the column 'lable' is unknown"),
        ("path\nc.png\n", "the column 'label' is missing"),
        ("path,label,label\nc.png,,\n", "the column 'label' is there twice"),
        ("path,label\nc.png,well\n", "row 1, column 'label': 'well' is none of"),
        ("path,label\n,healthy\n", "row 1, column 'path': empty"),
        ("path,label\nnowhere.png,healthy\n", "the image nowhere.png is absent"),
        ("path,label,mask\nc.png,abnormal,nowhere.png\n", "the image nowhere.png is absent"),
        ("path,label,split\nc.png,,validation\n", "'validation' is none of"),
        ("path,label,severity\nc.png,abnormal,much\n", "'much' is not a number from 0"),
        ("path,label,severity\nc.png,abnormal,-1\n", "'-1' is not a number from 0"),
        ("path,label,stratum,view\nc.png,healthy,nodule,PA\n", "'nodule' on a healthy study"),
        ("path,label\nc.png,healthy,more\n", "row 1: 3 cells; the heading has 2"),
        ('path,label\n"c.png,healthy\n', "not a CSV table"),
        ("path,label\nlist.csv,healthy\n", "list.csv"),
        ("", "the column 'path' is missing"),
    ],
)
def test_faults_of_the_table_are_told_with_their_place(tmp_path: Path, text: str, told: str) -> None:
    picture(tmp_path / "c.png")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises((DataError, InputError)) as fault:
        imported(tmp_path)
    assert told in str(fault.value)
    assert not (tmp_path / "studies.csv").exists()


def test_a_table_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"path,label\n\xff\xfe,\n")
    with pytest.raises(DataError, match="not a CSV table in UTF-8"):
        imported(tmp_path)


def test_an_age_that_is_no_number_is_left_empty_with_a_note(tmp_path: Path) -> None:
    picture(tmp_path / "c.png")
    (tmp_path / "list.csv").write_text("path,label,view,patient,age_years\nc.png,healthy,PA,p,old\n")
    table, source = imported(tmp_path)
    assert table.rows[0].age_years is None
    assert source.notes == {"age cannot be true: left empty": 1}


MANIFEST = (
    "file", "site", "country", "patient_id", "label", "finding", "view", "age_group", "label_quality", "original_dataset",
    "licence", "orig_width", "orig_height", "sha256",
)  # fmt: skip


def manifest(root: Path, *rows: tuple[str, ...], digest: str = "") -> None:
    with (root / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(MANIFEST)
        for name, patient, label, finding, view, age in rows:
            found = digest or hashlib.sha256(picture(root / name)).hexdigest()
            writer.writerow((name, "here", "x", patient, label, finding, view, age, "noisy", "x", "x", 9, 9, found))


def test_a_manifest_says_site_patient_finding_and_age_group(tmp_path: Path) -> None:
    manifest(
        tmp_path,
        ("here/a.png", "NIH0766", "abnormal", "Edema | RSNA: Lung Opacity", "AP", "adult"),
        ("here/b.png", "7", "abnormal", "No Finding | RSNA: No Lung Opacity / Not Normal", "PA", "unknown"),
        ("here/c.png", "8", "abnormal", "No Finding | RSNA: Lung Opacity", "PA", "child"),
        ("here/d.png", "9", "abnormal", "COVID-19, ARDS", "PA", "adult"),
        ("here/e.png", "9", "healthy", "No Finding", "PA", "child"),
        ("here/f.png", "9", "healthy", "", "", "adult"),
        ("here/g.png", "9", "healthy", "", "L", "adult"),
    )
    table, source = imported(tmp_path, DataSet.RADIOGRAPHS)
    rows = by_name(table)
    assert [rows[f"{name}.png"].stratum for name in "abcdef"] == ["edema", "other", "lung_opacity", "several", "", ""]
    assert [rows[f"{name}.png"].age_years for name in "abcdef"] == [None, None, 5, None, 5, None]
    assert [rows[f"{name}.png"].patient for name in "ab"] == ["nih-766", "radiographs-here-7"]
    assert rows["f.png"].label is None
    assert source.left_out == {"view is not frontal": 1}
    assert source.notes == {"here, abnormal: noisy": 4, "here, healthy: noisy": 1}


def test_a_film_that_is_not_the_listed_one_is_told(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    manifest(tmp_path, ("a.png", "7", "healthy", "", "PA", "adult"), digest="0" * 64)
    with pytest.raises(DataError, match=r"row 1: the image a\.png is not the one listed"):
        imported(tmp_path, DataSet.RADIOGRAPHS)


def test_the_real_radiographs_come_through_as_their_readme_counts_them(shared: Path, tmp_path: Path) -> None:
    source = source_of(DataSet.RADIOGRAPHS, shared / "radiographs", tmp_path / "studies.csv")
    import_data_set(DataSet.RADIOGRAPHS, source, lambda: None)
    table = read_study_table(source.out)
    assert Counter((row.site, row.label) for row in table) == {
        ("nih_cc", Label.HEALTHY): 160,
        ("nih_cc", Label.ABNORMAL): 477,
        ("kermany_guangzhou", Label.HEALTHY): 486,
        ("kermany_guangzhou", Label.ABNORMAL): 900,
        ("cohen_intl", Label.ABNORMAL): 182,
    }
    assert len({row.patient for row in table}) == 1710
    assert sum(row.age_years is not None for row in table) == 1431
    assert source.left_out == source.unlabelled == {}


def test_the_verb_tells_counts_and_every_loss(ward: Path) -> None:
    out = ward / "studies.csv"
    told = CliRunner().invoke(app, ["import", "folder", str(ward), "--out", str(out), "--json"])
    assert told.exit_code == 0
    summary = json.loads(told.stdout)
    assert summary["table"] == str(out)
    assert (summary["images"], summary["studies"], summary["patients"], summary["masks"]) == (5, 4, 4, 1)
    assert summary["sites"]["south"] == {"healthy": 0, "abnormal": 1, "not known": 0}
    assert summary["strata"] == {"nodule": 1}
    assert summary["left_out"] == {"view is not frontal": 1}
    assert summary["digest"] == hashlib.sha256(out.read_bytes()).hexdigest()
    shown = CliRunner().invoke(app, ["import", "folder", str(ward), "--out", str(out)]).stdout
    for word_shown in ("south", "left out", "view is not frontal", "kept without label", "splits:"):
        assert word_shown in shown


def test_the_verb_shares_out_patients_as_it_is_told(ward: Path) -> None:
    out = ward / "studies.csv"
    shares = ["--train-share", "0", "--tune-share", "0", "--calibration-share", "1"]
    CliRunner().invoke(app, ["import", "folder", str(ward), "--out", str(out), *shares], catch_exceptions=False)
    assert by_name(read_study_table(out))["a.dcm"].split is Split.CALIBRATION
    refused = CliRunner().invoke(app, ["import", "folder", str(ward), "--out", str(out), "--tune-share", "0.9"])
    assert refused.exit_code == 2


def test_the_verb_knows_no_other_data_set(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["import", "imagenet", str(tmp_path), "--out", str(tmp_path / "studies.csv")])
    assert told.exit_code == 2


def test_findings_that_name_one_thing_twice_are_one_stratum() -> None:
    assert stratum_of(["Lung Opacity", "Consolidation", "Pneumonia"]) == "pneumonia"
    assert stratum_of(["Enlarged Cardiomediastinum", "Cardiomegaly"]) == "cardiomegaly"
    assert stratum_of(["Edema", "Cardiomegaly"]) == "several"
    assert stratum_of(["Effusion", "Pleural Effusion"]) == "effusion"


def test_names_become_the_phantoms_words() -> None:
    assert [word(name) for name in ("Pleural Effusion", " ILD", "Nodule/Mass", "E.Coli", "?")] == [
        "effusion", "interstitial", "nodule_mass", "e.coli", "other",
    ]  # fmt: skip


def test_only_an_explicit_and_frontal_nothing_is_healthy() -> None:
    told = [
        judge(Reading(findings=findings, doubtful=doubtful, says_healthy=says), is_frontal=frontal).label
        is Label.HEALTHY
        for findings in ((), ("Edema",), ("Support Devices",))
        for doubtful in (False, True)
        for says in (False, True)
        for frontal in (False, True)
    ]
    assert told.count(True) == 1


def test_a_partial_folder_gives_what_it_has(ward: Path) -> None:
    (ward / "c.png").unlink()
    arguments = ["import", "folder", str(ward), "--out", str(ward / "studies.csv"), "--json"]
    assert isinstance(CliRunner().invoke(app, arguments).exception, DataError)
    summary = json.loads(CliRunner().invoke(app, [*arguments, "--partial"]).stdout)
    assert summary["left_out"] == {"view is not frontal": 1, "image is absent": 1}
