//! The declaration of bugs that can be planted.

/// Declares the enum `Mutant` of an algorithm's known bugs, the list of them, and the question that the protocol asks of its
/// configurations: `config.plants(Mutant::…)`, at one place for each bug.
///
/// Without the feature `mutants` of the crate that declares them, and in a release, the answer is a constant `false`, and the
/// compiler removes the question. With it each configuration has a field `mutant: Option<Mutant>`, under the same condition.
///
/// ```
/// #[derive(Default)]
/// struct Config {
///     #[cfg(all(feature = "mutants", debug_assertions))]
///     mutant: Option<Mutant>,
/// }
///
/// consensus_core::mutants! {
///     /// A bug of somebody's echo.
///     Mutant of Config;
///     /// It answers twice.
///     AnswersTwice,
/// }
///
/// fn answers(config: &Config) -> usize {
///     if config.plants(Mutant::AnswersTwice) { 2 } else { 1 }
/// }
/// assert_eq!(answers(&Config::default()), 1);
/// ```
#[macro_export]
macro_rules! mutants {
    ($(#[doc = $title:literal])+ Mutant of $($config:ty),+; $($(#[doc = $doc:literal])+ $name:ident,)+) => {
        $(#[doc = $title])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(
            not(all(feature = "mutants", debug_assertions)),
            allow(unreachable_pub, reason = "public together with the feature `mutants` only")
        )]
        pub enum Mutant {
            $($(#[doc = $doc])+ $name,)+
        }

        #[cfg(all(feature = "mutants", debug_assertions))]
        impl Mutant {
            /// Every bug that can be planted.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];
        }

        $(impl $config {
            /// Whether the bug is planted.
            #[cfg(all(feature = "mutants", debug_assertions))]
            pub(crate) fn plants(&self, mutant: Mutant) -> bool {
                self.mutant == Some(mutant)
            }

            /// Whether the bug is planted: never.
            #[cfg(not(all(feature = "mutants", debug_assertions)))]
            #[allow(clippy::unused_self, reason = "the same shape as with the feature")]
            #[inline(always)]
            pub(crate) const fn plants(&self, _mutant: Mutant) -> bool {
                false
            }
        })+
    };
}
