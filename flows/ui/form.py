"""The run form of `retrain` in Prefect's UI, and how its values are written into params.yaml.

Types, limits and descriptions come from tasks/common/params.py, so the form accepts what the stages accept.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model, model_serializer
from pydantic.fields import FieldInfo

from tasks.common.errors import UserError
from tasks.common.model_names import MODELS, TRAINING_SECTIONS, Model
from tasks.common.params import PARAMS_FILE, Params, describe_errors, load_params
from tasks.common.presets import flatten, preset_names, preset_values, update_params

ROOT = Path(__file__).parents[2]
COMMITTED = "as committed"
FORM_PARAMETERS = (  # what people change from run to run; other parameters are changed by a commit
    "threads",
    "device",
    "preprocess.size",
    "preprocess.color",
    *(f"{section}.{key}" for section, settings in TRAINING_SECTIONS.items() for key in settings.in_form),
    "evaluate.n_images",
    "evaluate.seed",
)


class Form(BaseModel):
    """Base of every group of the form; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_serializer(mode="wrap")
    def _serialize(self, serialize: Callable[["Form"], dict[str, Any]]) -> dict[str, Any]:
        """Omits empty fields, which leave a parameter as it is."""
        return {key: value for key, value in serialize(self).items() if value is not None}


def _form(name: str, section: type[BaseModel], keys: Iterable[str]) -> type[Form]:
    """Makes a form of the fields of `section` with these dotted keys, each of which may be left empty."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        field, _, rest = key.partition(".")
        groups.setdefault(field, []).append(rest)
    fields = {field: _field(name, field, section.model_fields[field], inner) for field, inner in groups.items()}
    form: type[Form] = create_model(name, __base__=Form, __doc__=section.__doc__, **fields)  # type: ignore[call-overload]
    return form


def _field(name: str, key: str, info: FieldInfo, inner: Sequence[str]) -> tuple[Any, Any]:
    """Returns type and default of a group with the keys `inner`, or of a single parameter if that key is empty."""
    kind: Any = info.annotation
    if inner != [""]:
        group = _form(f"{name}{key.title().replace('_', '')}", kind, inner)
        return group, Field(default=group(), title=key)
    constrained = Annotated[kind, *info.metadata] if info.metadata else kind
    about = info.description
    return constrained | None, Field(default=None, title=key, description=about, json_schema_extra=_remove_null)


def _remove_null(schema: dict[str, Any]) -> None:
    """Removes `null` from the JSON schema of an optional value, for which Prefect's form asks "int or None?"."""
    value, _ = schema.pop("anyOf")
    del schema["default"]
    schema |= value


def _renamed_choice(models: object) -> object:
    if models == "both":
        raise ValueError("`both` is now called `all`")
    return models


if TYPE_CHECKING:
    Models = str

    class Overrides(Form):
        """Parameters that take precedence over the preset and params.yaml; an empty field changes nothing."""

else:
    Models = Annotated[Literal["all", *MODELS], BeforeValidator(_renamed_choice)]
    Overrides = _form("Overrides", Params, FORM_PARAMETERS)

Preset = Annotated[str, Field(json_schema_extra={"enum": [COMMITTED, *preset_names(ROOT)]})]


def check_overrides(values: Mapping[str, Any]) -> Overrides:
    """Validates nested values; raises UserError that names each error."""
    try:
        return Overrides.model_validate(values)
    except ValidationError as error:
        reason = describe_errors(error)
        raise UserError(f"the overrides are invalid: {reason}; correct these values or leave them out") from None


def selected(models: Models) -> tuple[Model, ...]:
    """Returns the models that a choice of the form means."""
    return MODELS if models == "all" else (models,)


def write_params(root: Path, preset: str, overrides: BaseModel) -> list[str]:
    """Writes a preset, then the overrides, into `root`/params.yaml; returns the changes as `key: old -> new`.

    Raises UserError, and leaves the file as it was, for an unknown preset or values that contradict each other.
    """
    names = preset_names(root)
    if preset not in (COMMITTED, *names):
        raise UserError(f"there is no preset `{preset}`; choose one of {', '.join((COMMITTED, *names))}")
    load_params(root / PARAMS_FILE)  # an error in the committed file must not be blamed on the form
    values = {} if preset == COMMITTED else preset_values(root, preset)
    return update_params(root, values | dict(flatten(overrides.model_dump(mode="json"))))
