"""Explicit vectors for numba kernels: a register's worth of float32 or float64, with the few operations they need.

Plain loops are vectorised when the compiler can prove enough about them; here it need not. A vector is 64 bytes (one
AVX-512 register; LLVM splits it in two for AVX2, in four for NEON).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import factorial, log
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from lamina.ops._native import BYTES

__all__ = [
    "between", "exp", "fma", "imaginary", "lanes", "load", "load_some", "real_part", "sigmoid", "splat", "store",
    "store_some", "total", "turned", "zeros",
]  # fmt: skip


_ZERO = ir.Constant(ir.IntType(32), 0)


class Vector(types.Type):
    """The numba type of a vector of a scalar type."""

    def __init__(self, scalar: Any) -> None:
        self.scalar, self.lanes = scalar, BYTES * 8 // scalar.bitwidth
        super().__init__(f"Vector({scalar})")


def _scalar(scalar: Any) -> ir.Type:
    return ir.FloatType() if scalar == types.float32 else ir.DoubleType()


def _vector(scalar: Any) -> ir.VectorType:
    return ir.VectorType(_scalar(scalar), BYTES * 8 // scalar.bitwidth)


def _integers(scalar: Any) -> ir.VectorType:
    return ir.VectorType(ir.IntType(scalar.bitwidth), BYTES * 8 // scalar.bitwidth)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _vector(kind.scalar))


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """The address of array[index] as that of a vector."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _vector(kind.dtype).as_pointer())


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """array[index : index + lanes] of a flat array; no alignment is asked for."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = builder.load(_place(context, builder, signature.args[0], *arguments))
        found.align = array.dtype.bitwidth // 8
        return found

    return Vector(array.dtype)(array, types.intp), emit


@intrinsic
def store(typing: Any, array: Any, index: Any, vector: Any) -> Any:
    """array[index : index + lanes] = vector."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        written = builder.store(arguments[2], _place(context, builder, signature.args[0], *arguments[:2]))
        written.align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), emit


def lanes(array: Any) -> int:
    """How many numbers of an array a vector holds."""
    raise NotImplementedError("for compiled code")


@overload(lanes)
def _lanes(array):
    count = BYTES * 8 // array.dtype.bitwidth
    return lambda array: count


@njit
def load_some(array, index, count):
    """The vector at array[index], zeros from its number `count` on: nothing is read there."""
    return load(array, index) if count >= lanes(array) else _load_first(array, index, count)


@njit
def store_some(array, index, vector, count):
    """Writes the vector's first `count` numbers at array[index]."""
    if count >= lanes(array):
        store(array, index, vector)
    else:
        _store_first(array, index, vector, count)


@intrinsic
def _load_first(typing: Any, array: Any, index: Any, count: Any) -> Any:
    """load_some of less than a vector."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, place = _vector(array.dtype), _place(context, builder, signature.args[0], *arguments[:2])
        rest = ir.Constant(kind, [0.0] * kind.count)
        return _masked(builder, array, "load", kind, [place], arguments[2], [rest])

    return Vector(array.dtype)(array, types.intp, types.intp), emit


@intrinsic
def _store_first(typing: Any, array: Any, index: Any, vector: Any, count: Any) -> Any:
    """store_some of less than a vector."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature.args[0], *arguments[:2])
        _masked(builder, array, "store", ir.VoidType(), [arguments[2], place], arguments[3], [])
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, types.intp), emit


def _masked(builder: Any, array: Any, what: str, kind: Any, given: list[Any], count: Any, rest: list[Any]) -> Any:
    """LLVM's masked load or store of a vector's first `count` numbers."""
    vector, align = _vector(array.dtype), ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
    places = ir.VectorType(ir.IntType(32), vector.count)
    wanted = builder.insert_element(ir.Constant(places, ir.Undefined), builder.trunc(count, ir.IntType(32)), _ZERO)
    wanted = builder.shuffle_vector(wanted, ir.Constant(places, ir.Undefined), ir.Constant(places, [0] * vector.count))
    mask = builder.icmp_signed("<", ir.Constant(places, list(range(vector.count))), wanted)
    arguments = [*given, align, mask, *rest]
    form = ir.FunctionType(kind, [one.type for one in arguments])
    name = f"llvm.masked.{what}.v{vector.count}f{array.dtype.bitwidth}.p0"
    return builder.call(cgutils.get_or_insert_function(builder.module, form, name), arguments)


@intrinsic
def splat(typing: Any, number: Any) -> Any:
    """A vector of one number."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = _vector(number)
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), arguments[0], _ZERO)
        first = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
        return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), first)

    return Vector(number)(number), emit


@intrinsic
def total(typing: Any, vector: Any) -> Any:
    """The sum of a vector's numbers, pairwise."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, one = _vector(vector.scalar), _scalar(vector.scalar)
        name = f"llvm.vector.reduce.fadd.v{kind.count}f{vector.scalar.bitwidth}"
        reduce = cgutils.get_or_insert_function(builder.module, ir.FunctionType(one, [one, kind]), name)
        return builder.call(reduce, [ir.Constant(one, -0.0), arguments[0]], fastmath=["reassoc"])

    return vector.scalar(vector), emit


def _llvm(name: str, operands: int) -> Any:
    """One of LLVM's functions of vectors."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = _vector(signature.return_type.scalar)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(kind, [kind] * operands),
            f"{name}.v{kind.count}f{signature.return_type.scalar.bitwidth}",
        )
        return builder.call(function, arguments)

    return emit


def _instruction(name: str) -> Any:
    """One of LLVM's instructions on two vectors."""
    return lambda context, builder, signature, arguments: getattr(builder, name)(*arguments)


@intrinsic
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""
    return a(a, b, c), _llvm("llvm.fma", 3)


@intrinsic
def _rint(typing: Any, a: Any) -> Any:
    return a(a), _llvm("llvm.nearbyint", 1)


@intrinsic
def _add(typing: Any, a: Any, b: Any) -> Any:
    return a(a, b), _instruction("fadd")


@intrinsic
def _sub(typing: Any, a: Any, b: Any) -> Any:
    return a(a, b), _instruction("fsub")


@intrinsic
def _mul(typing: Any, a: Any, b: Any) -> Any:
    return a(a, b), _instruction("fmul")


@intrinsic
def _div(typing: Any, a: Any, b: Any) -> Any:
    return a(a, b), _instruction("fdiv")


@overload(operator.add)
def _plus(a, b):
    return (lambda a, b: _add(a, b)) if isinstance(a, Vector) else None


@overload(operator.sub)
def _minus(a, b):
    return (lambda a, b: _sub(a, b)) if isinstance(a, Vector) else None


@overload(operator.mul)
def _times(a, b):
    return (lambda a, b: _mul(a, b)) if isinstance(a, Vector) else None


@overload(operator.truediv)
def _over(a, b):
    return (lambda a, b: _div(a, b)) if isinstance(a, Vector) else None


@intrinsic
def zeros(typing: Any, array: Any) -> Any:
    """A vector of zeros of an array's dtype."""
    kind = Vector(array.dtype)
    return kind(array), lambda context, builder, signature, arguments: ir.Constant(_vector(array.dtype), None)


def _shuffle(pattern: Callable[[int], int]) -> Any:
    """A vector's numbers in another order: pattern(i) is where number i comes from."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = _vector(signature.return_type.scalar)
        order = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [pattern(i) for i in range(kind.count)])
        return builder.shuffle_vector(arguments[0], ir.Constant(kind, ir.Undefined), order)

    return emit


@intrinsic
def real_part(typing: Any, z: Any) -> Any:
    """Of complex numbers (re, im, re, im, ...): (re, re, ...)."""
    return z(z), _shuffle(lambda i: i & ~1)


@intrinsic
def imaginary(typing: Any, z: Any) -> Any:
    """Of complex numbers (re, im, re, im, ...): (im, im, ...)."""
    return z(z), _shuffle(lambda i: i | 1)


@intrinsic
def turned(typing: Any, z: Any) -> Any:
    """i z of complex numbers (re, im, ...): (-im, re, ...)."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = _vector(z.scalar)
        swapped = _shuffle(lambda i: i ^ 1)(context, builder, signature, arguments)
        return builder.fmul(swapped, ir.Constant(kind, [-1.0, 1.0] * (kind.count // 2)))

    return z(z), emit


@intrinsic
def between(typing: Any, x: Any, low: Any, high: Any) -> Any:
    """x held to low..high; NaN stays NaN."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, low, high = arguments
        x = builder.select(builder.fcmp_ordered("<", x, low), low, x)
        return builder.select(builder.fcmp_ordered(">", x, high), high, x)

    return x(x, low, high), emit


@intrinsic
def _power_of_two(typing: Any, n: Any) -> Any:
    """2^n of whole numbers, by writing the exponent's bits."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, mantissa, bias = _integers(n.scalar), *((23, 127) if n.scalar == types.float32 else (52, 1023))
        exponent = builder.add(builder.fptosi(arguments[0], kind), ir.Constant(kind, [bias] * kind.count))
        shifted = builder.shl(exponent, ir.Constant(kind, [mantissa] * kind.count))
        return builder.bitcast(shifted, _vector(n.scalar))

    return n(n), emit


def exp(x: Any) -> Any:
    """e^x of a vector to about one unit in the last place; below the least normal number it stays there, not at 0."""
    raise NotImplementedError("for compiled code")


@overload(exp)
def _exp(x):
    """e^x = 2^n e^r with n whole and |r| <= ln 2 / 2; e^r by Taylor's series, whose rest is below the rounding."""
    kind, degree, low, high = (np.float32, 7, -87.0, 88.0) if x.scalar == types.float32 else (np.float64, 13, -708, 709)
    per_ln2, ln2 = kind(1 / log(2)), kind(log(2))
    rest = kind(log(2) - float(ln2)) if kind is np.float32 else kind(2.3190468138462996e-17)  # ln 2 beyond its rounding
    low, high, one = kind(low), kind(high), kind(1)
    terms = tuple(kind(1 / factorial(k)) for k in range(degree, 1, -1))

    def compiled(x):
        x = between(x, splat(low), splat(high))
        n = _rint(x * splat(per_ln2))
        r = fma(n, splat(-rest), fma(n, splat(-ln2), x))
        p = splat(terms[0])
        for term in terms[1:]:
            p = fma(p, r, splat(term))
        return (fma(p, r * r, r) + splat(one)) * _power_of_two(n)

    return compiled


@njit
def sigmoid(array, x):
    """1 / (1 + e^-x) of a vector of the array's dtype."""
    one = splat(array.dtype.type(1))
    return one / (one + exp(zeros(array) - x))
