"""What a person may say of a retraining in Prefect's form, and how that becomes params.yaml.

Types, limits and descriptions are those of tasks/common/params.py, so that the form cannot promise what a stage
refuses.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    create_model,
    model_serializer,
)
from pydantic.fields import FieldInfo

from tasks.common.errors import UserError
from tasks.common.model_names import MODELS, Model
from tasks.common.params import PARAMS_FILE, Params, faults_text, load_params
from tasks.common.presets import preset_names, preset_values, rewrite

ROOT = Path(__file__).parents[2]
COMMITTED = "as committed"
KNOBS = (  # what people change from run to run; whatever else there is, they commit
    "threads",
    "device",
    "preprocess.size",
    "preprocess.color",
    "train_gan.seed",
    "train_gan.stop.n_images",
    "train_gan.stop.max_seconds",
    "train_gan.batch",
    "train_gan.channels",
    "train_gan.conditional",
    "train_gan.flip",
    "train_gan.generator.learning_rate",
    "train_gan.discriminator.learning_rate",
    "train_vae.seed",
    "train_vae.stop.n_images",
    "train_vae.stop.max_seconds",
    "train_vae.batch",
    "train_vae.channels",
    "train_vae.latent",
    "train_vae.conditional",
    "train_vae.beta",
    "train_vae.optimiser.learning_rate",
    "evaluate.n_images",
    "evaluate.seed",
)


class Form(BaseModel):
    """Base of every group of the form: a key that is not known is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_serializer(mode="wrap")
    def _said(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is empty, which stands for no value."""
        return {key: value for key, value in dump(self).items() if value is not None}


def _tree(keys: tuple[str, ...]) -> dict[str, Any]:
    """Dotted keys as nested dicts; a leaf is None."""
    tree: dict[str, Any] = {}
    for key in keys:
        branch = tree
        *above, last = key.split(".")
        for part in above:
            branch = branch.setdefault(part, {})
        branch[last] = None
    return tree


def _form(name: str, section: type[BaseModel], branch: Mapping[str, Any]) -> type[Form]:
    """A model with the named fields of `section`, each of which may be left empty."""
    fields = {key: _field(name, key, section.model_fields[key], inner) for key, inner in branch.items()}
    made: type[Form] = create_model(name, __base__=Form, __doc__=section.__doc__, **fields)  # type: ignore[call-overload]
    return made


def _field(name: str, key: str, info: FieldInfo, inner: Mapping[str, Any] | None) -> tuple[Any, Any]:
    kind: Any = info.annotation
    if inner is not None:
        group = _form(f"{name}{key.title().replace('_', '')}", kind, inner)
        return group, Field(default=group(), title=key)
    limited = Annotated[kind, *info.metadata] if info.metadata else kind
    return limited | None, Field(default=None, title=key, description=info.description, json_schema_extra=_plain)


def _plain(schema: dict[str, Any]) -> None:
    """A value that may be left out, for a form: Prefect's asks "int or None?" where the schema tells of null."""
    value, _ = schema.pop("anyOf")
    del schema["default"]
    schema |= value


if TYPE_CHECKING:

    class Overrides(Form):
        """Values that rule over the preset's and the committed ones; what is left empty stays as it is."""

else:
    Overrides = _form("Overrides", Params, _tree(KNOBS))

Preset = Annotated[str, Field(json_schema_extra={"enum": [COMMITTED, *preset_names(ROOT)]})]
Models = Literal["both", Model]


def check_overrides(values: Mapping[str, Any]) -> Overrides:
    """Nested values as the form; raises UserError that names each fault."""
    try:
        return Overrides.model_validate(values)
    except ValidationError as error:
        raise UserError(f"the overrides: {faults_text(error)}; leave them out, or correct them") from None


def chosen(models: Models) -> tuple[Model, ...]:
    """The models that a choice stands for."""
    return MODELS if models == "both" else (models,)


def write_params(root: Path, preset: str, overrides: BaseModel) -> list[str]:
    """Writes a preset, then the overrides, into `root`/params.yaml; returns the changes as `key: old -> new`.

    Raises UserError for a preset that does not exist and for values that do not go together; the file stays then.
    """
    names = preset_names(root)
    if preset not in (COMMITTED, *names):
        raise UserError(f"there is no preset `{preset}`; choose one of {', '.join((COMMITTED, *names))}")
    load_params(root / PARAMS_FILE)  # what is committed may be nonsense, which no form mends
    laid = {} if preset == COMMITTED else preset_values(root, preset)
    said = overrides.model_dump(mode="json")
    return rewrite(root, laid | dict(_leaves(said)))


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
