"""Every layer and streaming model keeps every law of the contract."""

from __future__ import annotations

import trap_states as states
from lamina.core import Residual, check
from lamina.models import check_layers

MEMORY = [("Crosses", states.Crosses()), ("Residual(Crosses)", Residual(states.Crosses()))]


@check.parametrize([*check_layers(), *MEMORY])
def test_law(case: check.Case, law: check.Law) -> None:
    law(case)
