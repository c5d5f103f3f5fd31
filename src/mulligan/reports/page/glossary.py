"""What words mean, for a reader who meets them for the first time."""

from __future__ import annotations

GLOSSARY = {
    "activation": "The number that a unit answers to an input at one place. A larger one means a stronger answer.",
    "ablation": "Setting a unit to a constant (its mean, unless said otherwise), to see what changes without it.",
    "attribution": "How much a unit adds to an answer, estimated from gradients. It ranks; only an edit confirms.",
    "AUC": "The chance that a random example of one kind scores above a random one of the other: 0.5 is guessing, 1 "
    "is perfect.",
    "baseline": "What a cheap method that only queries the network's answers would have said.",
    "calibration": "Whether answers given with 80 % confidence are right in 80 % of cases.",
    "causal test": "An edit of the network or the input: does the behaviour go away, and does an equal random edit "
    "leave it?",
    "compose": "The family of triggers that show two pictures as one: side by side, laid over each other and so on.",
    "composite": "One picture that shows two others, side by side, laid over each other or otherwise arranged.",
    "confidence": "How well a claim is supported, as a number by rule that orders findings; no measured probability.",
    "confidence interval": "The range of values that the data are compatible with, at the level given (95 % "
    "unless said).",
    "dead unit": "A unit that answers the same to every example of the data.",
    "effect": "How often, or how strongly, the behaviour was seen.",
    "factor": "One of a handful of directions into which a layer's activations fall, found by non-negative matrix "
    "factorization or principal components.",
    "feature": "A direction in a layer's activations that is read as one thing: a unit, a class's logit, a latent.",
    "feature visualization": "A picture made from noise by climbing a unit's activation: what it looks for most.",
    "finding": "A claim that survived: tested on data kept aside, against placebos, after multiplicity, with an edit.",
    "frozen": "Written down before the test half of the data was opened, so that what is tested was not chosen by it.",
    "heat map": "Where in a picture a unit answers, dark for little and light for much.",
    "inconclusive": "The search could not have caught what it promises to catch. It is never a pass.",
    "lead": "Something unusual without a demonstrated behaviour. It is no part of the verdict.",
    "logit": "The network's score of a class before scores become probabilities.",
    "margin": "By how much the winning logit leads the next one. Often said as a share of what genuine pictures of the "
    "answered class lead by.",
    "natural ways": "How far a picture excites a unit by the same units below as photographs that excite it do.",
    "p-value": "How often chance alone would show as much, were there nothing.",
    "placebo": "An input as different from the clean one as the trigger is, without what the claim says matters.",
    "random-weight twin": "The same architecture with random weights: what training did not put there, it shows too.",
    "receptive field": "The part of the input that a unit at one place can depend on at all.",
    "selectivity": "How well a unit's activation tells one class from the rest, as AUC on examples held out.",
    "site": "A named place in the network where a tensor passes, such as blocks.5.",
    "size about the mean row (log)": "The logarithm of how far a class's row of the last layer lies from the mean of "
    "all rows.",
    "smallest effect": "The weakest planted defect that a check still caught in 80 % of its trials on this network.",
    "to first order": "Estimated from the gradient, as if the rest of the network were linear; no edit was made.",
    "trigger": "What in an input elicits the behaviour.",
    "trustworthiness": "How rarely neighbours on a map are strangers in the space that it flattens: 1 is never.",
    "unit": "One channel or neuron of a layer; blocks.5:12 is unit 12 at blocks.5.",
}
