"""Print docs/settings.md from the settings themselves: `python docs/make_settings.py > docs/settings.md`."""

from pydantic import SecretStr

from service.settings import Settings

HEAD = """# Settings

Each is an environment variable of the service, read once when it starts; `demur serve` has options for the first ones. What
belongs to a release (preprocessing, rule, threshold, scope) travels in its bundle and cannot be set.

| variable | default | what it is |
|---|---|---|"""


def shown(default: object) -> str:
    """Return a default as a reader of the table would write it."""
    if default is None or isinstance(default, SecretStr) or default == "":
        return ""
    return f"`{default}`"


def main() -> None:
    """Print the page."""
    print(HEAD)
    for name, field in Settings.model_fields.items():
        variable = field.validation_alias or f"DEMUR_{name.upper()}"
        print(f"| `{variable}` | {shown(field.default)} | {field.description} |")


if __name__ == "__main__":
    main()
