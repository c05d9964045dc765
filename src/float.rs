//! Element types of the kernels: what a tensor stores and what a sum runs in.

use half::{bf16, f16};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// The type a kernel accumulates in: `f32` for all types up to 32 bits, `f64` for `f64`.
pub trait Accumulator:
    Copy
    + Send
    + Sync
    + Default
    + PartialOrd
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + Sum
    + 'static
{
    /// Additive identity.
    const ZERO: Self;
    /// Multiplicative identity.
    const ONE: Self;
    /// Smaller than every number.
    const NEG_INFINITY: Self;
    /// Nearest value to a double.
    fn from_f64(value: f64) -> Self;
    /// Exact value as a double.
    fn to_f64(self) -> f64;
    /// `self * a + b` with one rounding. For multiversioned kernels: without the instruction it is a slow call.
    #[must_use]
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// Square root.
    #[must_use]
    fn sqrt(self) -> Self;
    /// e to the power of `self`.
    #[must_use]
    fn exp(self) -> Self;
    /// e to the power of `self`, which is at most 0; vectorises where that pays.
    #[must_use]
    fn exp_of_nonpositive(self) -> Self;
    /// Natural logarithm of 1 + `self`, which is in [0, 1]; vectorises where that pays.
    #[must_use]
    fn ln_1p_of_fraction(self) -> Self;
    /// Natural logarithm of `self`, a normal positive number; vectorises where that pays.
    #[must_use]
    fn ln_of_positive(self) -> Self;
    /// Larger of the two.
    #[must_use]
    fn max(self, other: Self) -> Self;
}

macro_rules! accumulator {
    ($float:ty, $exp_of_nonpositive:path, $ln_1p_of_fraction:path, $ln_of_positive:path) => {
        impl Accumulator for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = <$float>::NEG_INFINITY;
            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $float
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                <$float>::mul_add(self, a, b)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                <$float>::sqrt(self)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                <$float>::exp(self)
            }
            #[inline(always)]
            fn exp_of_nonpositive(self) -> Self {
                $exp_of_nonpositive(self)
            }
            #[inline(always)]
            fn ln_1p_of_fraction(self) -> Self {
                $ln_1p_of_fraction(self)
            }
            #[inline(always)]
            fn ln_of_positive(self) -> Self {
                $ln_of_positive(self)
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                if self > other { self } else { other }
            }
        }
    };
}
accumulator!(f32, exp_of_nonpositive_f32, ln_1p_of_fraction_f32, ln_of_positive_f32);
accumulator!(f64, f64::exp, f64::ln_1p, f64::ln);

/// Within 1.5 units in the last place; below −87 that of −87, 1.6e-38, which no sum with a 1 in it feels.
#[inline(always)]
fn exp_of_nonpositive_f32(x: f32) -> f32 {
    // Adding 1.5 · 2²³ rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = f32::mul_add(x, std::f32::consts::LOG2_E, ROUND);
    let exponent = shifted - ROUND;
    let rest = f32::mul_add(exponent, -LN_2_LOW, f32::mul_add(exponent, -LN_2_HIGH, x));
    let mut series = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = f32::mul_add(series, rest, coefficient);
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    series * power
}

/// Within 3 units in the last place.
#[inline(always)]
fn ln_1p_of_fraction_f32(x: f32) -> f32 {
    // 2 artanh(x / (2 + x)), whose argument is at most 1/3.
    let ratio = x / (2.0 + x);
    let square = ratio * ratio;
    let mut series = 2.0 / 15.0;
    for coefficient in [2.0 / 13.0, 2.0 / 11.0, 2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0, 2.0] {
        series = f32::mul_add(series, square, coefficient);
    }
    series * ratio
}

/// Within 2 units in the last place.
#[inline(always)]
fn ln_of_positive_f32(x: f32) -> f32 {
    // A power of two times a number from √½ to √2, whose logarithm is 2 artanh((m − 1) / (m + 1)).
    const ROOT_HALF: u32 = std::f32::consts::FRAC_1_SQRT_2.to_bits();
    let exponent = x.to_bits().wrapping_sub(ROOT_HALF) as i32 >> 23;
    let mantissa = f32::from_bits(x.to_bits().wrapping_sub((exponent << 23) as u32));
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let square = ratio * ratio;
    let mut series = 2.0 / 9.0;
    for coefficient in [2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0, 2.0] {
        series = f32::mul_add(series, square, coefficient);
    }
    f32::mul_add(exponent as f32, std::f32::consts::LN_2, series * ratio)
}

/// `1 / (1 + exp(−x))`. For multiversioned kernels.
#[inline(always)]
pub fn sigmoid<A: Accumulator>(x: A) -> A {
    let small = if x > A::ZERO { -x } else { x }.exp_of_nonpositive();
    let of_negative = small / (A::ONE + small);
    if x > A::ZERO { A::ONE - of_negative } else { of_negative }
}

/// `ln(1 + exp(x))`. For multiversioned kernels.
#[inline(always)]
pub fn softplus<A: Accumulator>(x: A) -> A {
    let (small, linear) = if x > A::ZERO { (-x, x) } else { (x, A::ZERO) };
    linear + small.exp_of_nonpositive().ln_1p_of_fraction()
}

/// A floating-point element of a tensor.
pub trait Scalar: Copy + Send + Sync + 'static {
    /// The type sums over this element run in.
    type Acc: Accumulator;
    /// Exact widening.
    fn load(self) -> Self::Acc;
    /// Rounding to nearest even.
    fn store(value: Self::Acc) -> Self;
}

impl Scalar for f32 {
    type Acc = f32;
    #[inline(always)]
    fn load(self) -> f32 {
        self
    }
    #[inline(always)]
    fn store(value: f32) -> Self {
        value
    }
}

impl Scalar for f64 {
    type Acc = f64;
    #[inline(always)]
    fn load(self) -> f64 {
        self
    }
    #[inline(always)]
    fn store(value: f64) -> Self {
        value
    }
}

impl Scalar for bf16 {
    type Acc = f32;
    #[inline(always)]
    fn load(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    #[inline(always)]
    fn store(value: f32) -> Self {
        // Branch-free, so that loops over it vectorise; half's own conversion does not.
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let quiet_nan = (bits >> 16) | 0x40;
        Self::from_bits(if value.is_nan() { quiet_nan as u16 } else { rounded as u16 })
    }
}

impl Scalar for f16 {
    type Acc = f32;
    #[inline(always)]
    fn load(self) -> f32 {
        self.to_f32()
    }
    #[inline(always)]
    fn store(value: f32) -> Self {
        Self::from_f32(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_store_rounds_to_nearest_even_like_half() {
        for bits in (0..=u32::MAX).step_by(9973) {
            let value = f32::from_bits(bits);
            let ours = <bf16 as Scalar>::store(value);
            let theirs = bf16::from_f32(value);
            assert!(ours.to_bits() == theirs.to_bits() || (value.is_nan() && ours.is_nan()), "{bits:#x}");
        }
    }

    #[test]
    fn exponential_is_accurate() {
        for step in 0..87_000 {
            let x = -1e-3 * step as f32;
            let exact = f64::from(x).exp();
            let error = (f64::from(x.exp_of_nonpositive()) - exact).abs() / exact;
            assert!(error < 1.5 * f64::from(f32::EPSILON), "exp({x}): {error:e}");
        }
        let [zero, least, infinite] =
            [0.0, -87.0, f32::NEG_INFINITY].map(|x: f32| x.exp_of_nonpositive().to_bits());
        assert_eq!((zero, infinite), (1.0_f32.to_bits(), least));
        assert!(f32::NAN.exp_of_nonpositive().is_nan());
    }

    #[test]
    fn logarithm_is_accurate() {
        for bits in (f32::MIN_POSITIVE.to_bits()..f32::INFINITY.to_bits()).step_by(9973) {
            let x = f32::from_bits(bits);
            let exact = f64::from(x).ln();
            let error = (f64::from(x.ln_of_positive()) - exact).abs() / exact.abs();
            assert!(error < 2.0 * f64::from(f32::EPSILON), "ln({x}): {error:e}");
        }
        assert_eq!([1.0, 0.5].map(f32::ln_of_positive), [0.0, -std::f32::consts::LN_2]);
    }

    #[test]
    fn softplus_is_accurate() {
        for step in -80_000..40_000 {
            let x = 1e-3 * step as f32;
            let exact = f64::from(x).exp().ln_1p();
            let error = (f64::from(softplus(x)) - exact).abs() / exact;
            assert!(error < 4.0 * f64::from(f32::EPSILON), "softplus({x}): {error:e}");
        }
        assert_eq!([200.0_f32, f32::INFINITY].map(softplus), [200.0, f32::INFINITY]);
        assert_eq!([0.0, 700.0].map(softplus), [std::f64::consts::LN_2, 700.0]);
        assert!(softplus(f32::NEG_INFINITY) < 1e-37 && softplus(f32::NAN).is_nan());
    }

    #[test]
    fn sigmoid_saturates() {
        assert_eq!([0.0_f32, 30.0, f32::INFINITY].map(sigmoid), [0.5, 1.0, 1.0]);
        assert!(sigmoid(f32::NEG_INFINITY) < 1e-37 && sigmoid(f32::NAN).is_nan());
    }
}
