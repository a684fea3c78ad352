// SPDX-License-Identifier: Apache-2.0
#include "tuner/option_table.h"

namespace nvfp4 {
namespace {

using enum Command;

// About one problem and its kernel.
constexpr Commands kProblem = tune | lookup | emit;
// Those that time kernels on a card.
constexpr Commands kMeasuring = tune | bench | regret | db_verify;
// Those that choose among stored winners.
constexpr Commands kWinners = db_list | db_show | db_diff | db_verify;

constexpr OptionSpec kOptions[] = {
    {"shape", "N,K",
     "output features (weight rows) and input features; tune and bench take several",
     kMeasuring | kWinners | kProblem},
    {"model", "NAME",
     "tune, bench: a model's layers: a folder, a config.json or a name of --model list; takes "
     "several",
     tune | bench},
    {"experts", "E",
     "matrices of a grouped launch (mixture of experts); M then counts the tokens of all",
     kWinners | kProblem},
    {"M", "LIST", "token counts: 64 | 1,2,4 | 1:8 | 4:512*2 | 1:64+8",
     kMeasuring | kWinners | kProblem},
    {"act", "TYPE", "activations: bf16 (default) | fp16",
     kMeasuring | kWinners | kProblem | inspect},
    {"device", "NAME", "auto (default) | 0, 1, .. | emulated:NAME; tune takes 0,1 or all",
     kMeasuring | kProblem | inspect | doctor},
    {"db", "PATH", "tuning database (default: see db path)", Commands::all_but(db_build)},
    {"cache", "DIR", "cache of compiled kernels", kMeasuring | emit | doctor},
    {"policy", "NAME",
     "what the winner is for: graph | graph+pdl | eager (default: graph, and "
     "graph+pdl where the GPU has it)",
     kWinners | kProblem | regret},
    {"format", "NAME", "table (default) | json | jsonl | csv | md",
     kMeasuring | kWinners | lookup | compare | inspect | doctor | db_info},
    {"effort", "NAME", "quick | full (default)", tune | regret},
    {"budget", "TIME", "stop trying candidates after this long: 60s, 5m", tune | regret},
    {"seed", "N", "of the explored candidates and the test data (default 1)", kMeasuring},
    {"jobs", "N", "compile processes (default: by cores and memory)", kMeasuring | inspect},
    {"max-candidates", "N", "configs tried for each M (default: by effort)", tune},
    {"force", nullptr, "measure again what the database already knows; replace a file",
     tune | bench | regret | inspect | db_export | db_build | dashboard},
    {"no-wait", nullptr, "fail when another tuner holds the card, instead of waiting for it",
     kMeasuring},
    {"shared", nullptr, "measure although others use the card: processes, MPS, MIG slices",
     kMeasuring},
    {"config", "TEXT", "this config and no other; tune takes several", tune | emit},
    {"strict", nullptr, "exit 6 unless a tuned kernel answers", lookup},
    {"arch", "NAME", "sm_80 | sm_86 | sm_89 | sm_90a (default: the device's)", emit},
    {"as", "FORM", "source (default) | ptx | resources", emit},
    {"suite", "NAME", "bench: decode | prefill | all (default); --shape and --M replace its own",
     bench},
    {"sweep", "COUNT", "regret: configs of each sweep, 0 for none (default 400)", regret},
    {"processes", "COUNT", "regret: fresh processes that pick (default 1)", regret},
    {"baseline", "NAME", "bench: cublas, the bf16 product of cuBLASLt", bench},
    {"save", "FILE", "bench: keep the results as JSON; an interrupted run goes on from it",
     bench | regret},
    {"plot", "FILE", "bench: draw the results as SVG", bench},
    {"from", "FILE", "bench: show what --save kept, of several runs the union; needs no GPU",
     bench},
    {"memory", nullptr, "inspect: what a step takes, against the card's memory", inspect},
    {"batch", "B", "inspect: sequences of a step (default 1)", inspect},
    {"tokens", "T", "inspect: tokens of each sequence in a step (default 1)", inspect},
    {"tp", "R", "as one of R ranks of tensor parallelism; tune takes a list: 1,2,4",
     tune | bench | inspect},
    {"plan", nullptr, "tune: say what there is to do and about how long it takes; do nothing",
     tune},
    {"shard", "I/N", "tune: the Ith of N parts of the work, for a cluster's array of jobs", tune},
    {"layers", nullptr, "inspect: a row for each layer", inspect},
    {"provenance", "NAME", "db: winners that are measured | modelled", kWinners},
    {"history", "FILE", "db export: a database of everything, without what names the machine",
     db_export},
    {"sample", "N%", "of so many of the winners; bench: of those of each M (default 100%)",
     bench | db_verify},
    {"record", nullptr, "bench: add the run to the database's history, and judge it", bench},
    {"winners", nullptr, "bench: measure what this card has winners for, not a suite", bench},
    {"fail-on-regression", nullptr, "compare: exit 5 when what the library runs got slower",
     compare},
    {"out", "DIR", "dashboard: the folder of the page", dashboard},
    {"pack", "FILE", "inspect: write the packed weights, so that the next load maps them", inspect},
};

}  // namespace

std::span<const OptionSpec> option_specs() { return kOptions; }

}  // namespace nvfp4
