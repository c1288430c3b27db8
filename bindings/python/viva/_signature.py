"""What inspect.signature() tells of the compiled functions: read from what nanobind knows of their arguments, when asked."""

import ast
import inspect
import re

_KINDS = inspect.Parameter


def of(function):
    """The inspect.Signature of a function of nanobind. A default stands there as its place in a tuple, as "\\0"."""
    text, _, defaults = function.__nb_signature__[0]
    tree = ast.parse(re.sub(r"\\(\d+)", r"\1", text).replace("viva._core.", "") + ": ...").body[0]
    a = tree.args
    # What nb::sig spells out has its defaults in the text alone.
    value = (lambda node: defaults[node.value]) if defaults else ast.literal_eval
    positional = a.posonlyargs + a.args
    given = [_KINDS.empty] * (len(positional) - len(a.defaults)) + [value(d) for d in a.defaults]
    kinds = [_KINDS.POSITIONAL_ONLY] * len(a.posonlyargs) + [_KINDS.POSITIONAL_OR_KEYWORD] * len(a.args)
    all_ = list(zip(positional, kinds, given))
    if a.vararg:
        all_.append((a.vararg, _KINDS.VAR_POSITIONAL, _KINDS.empty))
    all_ += [(p, _KINDS.KEYWORD_ONLY, value(d) if d else _KINDS.empty) for p, d in zip(a.kwonlyargs, a.kw_defaults)]
    if a.kwarg:
        all_.append((a.kwarg, _KINDS.VAR_KEYWORD, _KINDS.empty))
    return inspect.Signature([_KINDS(p.arg, k, default=d, annotation=_words(p.annotation)) for p, k, d in all_],
                             return_annotation=_words(tree.returns))


def of_bound(method):
    """The same without self."""
    whole = of(method.__func__)
    return whole.replace(parameters=list(whole.parameters.values())[1:])


def _words(annotation):
    return ast.unparse(annotation) if annotation else inspect.Signature.empty
