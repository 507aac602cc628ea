"""The readers' worklist, after DICOM UPS."""
