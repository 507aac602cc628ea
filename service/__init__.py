"""DICOM in, decision, worklist and ledger out, over HTTP."""
