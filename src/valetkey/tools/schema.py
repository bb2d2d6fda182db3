"""A signature and its docstring to a JSON schema, and arguments back."""
# Throwaway of the lead, so that tools/function.py can be tried: its author replaces this file whole. What function.py
# uses: describe(func, variables=…) -> Signature with .schema .description .bind .takes_kwargs .variables .wants
# .call(func, keywords).
from __future__ import annotations
import inspect
from dataclasses import dataclass
from typing import Any
from pydantic import create_model, ValidationError
from valetkey.errors import InvalidArguments

@dataclass
class Signature:
    model: Any; description: str; takes_kwargs: bool; variables: frozenset[str]; wants: frozenset[str]
    @property
    def schema(self): return self.model.model_json_schema()
    def bind(self, a):
        try: m = self.model.model_validate(dict(a))
        except ValidationError as e: raise InvalidArguments(str(e.errors()[0]["msg"])) from None
        return {k: getattr(m, k) for k in self.model.model_fields}
    def call(self, func, keywords): return func(**keywords)

def describe(func, *, variables=frozenset()):
    sig = inspect.signature(func, eval_str=True)
    fields = {}; kw = False; named=set(); wants=set()
    for p in sig.parameters.values():
        if p.kind is p.VAR_KEYWORD: kw = True; continue
        if p.kind is p.VAR_POSITIONAL: continue
        if p.name in variables: named.add(p.name); continue
        if p.name in ("thread_id","profile"): wants.add(p.name); continue
        fields[p.name] = (p.annotation if p.annotation is not p.empty else Any, ... if p.default is p.empty else p.default)
    from pydantic import ConfigDict
    return Signature(create_model(func.__name__, __config__=ConfigDict(extra="forbid"), **fields), inspect.getdoc(func) or "", kw, frozenset(named), frozenset(wants))
