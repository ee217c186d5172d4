"""How the test run checks annotations: shapes through jaxtyping, types through beartype, an int passes for a float."""

from beartype import BeartypeConf, beartype

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))
