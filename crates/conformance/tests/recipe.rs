//! Recipes as words and as commands.

use conformance::Recipe;
use consensus_sim::{FaultClass, Mask, Overrides, Setting};

fn recipe() -> Recipe {
    Recipe {
        seed: 7,
        mask: Mask::all().only(FaultClass::Crash, [0, 3, 4]).without(FaultClass::Loss),
        overrides: Overrides::none().with(Setting::Nodes, 3),
    }
}

#[test]
fn recipes_come_back_from_their_word() {
    let masked = Recipe { overrides: Overrides::none(), ..recipe() };
    let smaller = Recipe { mask: Mask::all(), ..recipe() };
    let words = ["7/crash:0,3-4;loss:/nodes=3", "7", "7/crash:0,3-4;loss:", "7//nodes=3"];
    for (recipe, word) in [recipe(), Recipe::from(7), masked, smaller].into_iter().zip(words) {
        assert_eq!(recipe.to_string(), word);
        assert_eq!(word.parse(), Ok(recipe));
    }
}

#[test]
fn a_command_can_be_pasted() {
    assert_eq!(Recipe::from(7).command("sim --seed"), "sim --seed 7");
    assert_eq!(recipe().command("sim --seed"), "sim --seed 7 --only 'crash:0,3-4;loss:' --set 'nodes=3'");
    assert_eq!(recipe().command("RUN='{}' test"), "RUN='7/crash:0,3-4;loss:/nodes=3' test");
}

#[test]
fn an_error_names_what_was_wrong() {
    let error = |text: &str| text.parse::<Recipe>().unwrap_err().to_string();
    assert!(error("x/crash:1").contains("\"x\" is no seed"));
    assert!(error("").contains("is no seed"));
    assert!(error("7/crush:1").contains("no class of faults \"crush\""));
    assert!(error("7//nodes=1/2").contains("nodes=1/2 is not possible"));
}
