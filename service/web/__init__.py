"""The pages: the worklist, a case with its picture, sign-in. Written by the web engineer, at work in this folder now."""
