// SPDX-License-Identifier: Apache-2.0
#include "tuner/command.h"

namespace nvfp4 {
namespace {

constexpr int kManyFiles = 10'000;  // of a job array

constexpr CommandGroup kDb = {"db", "the tuning database"};

using enum Command;

constexpr CommandSpec kCommands[] = {
    {lookup, nullptr, "lookup", "say which kernel answers for a shape"},
    {emit, nullptr, "emit", "print a kernel: source, PTX or resources"},
    {bench, nullptr, "bench", "measure what the library would run, for a suite of shapes"},
    {regret, nullptr, "regret",
     "say how good and how steady the tuner's choice is, against a sweep"},
    {compare, nullptr, "compare", "say what got slower between two runs", "OLD NEW", 2, 2},
    {inspect, nullptr, "inspect", "say what a checkpoint holds, needs, and what is wrong with it",
     "DIR", 0, 1},
    {doctor, nullptr, "doctor", "say what of GPU, driver, NVRTC, databases and cache is wrong"},
    {db_path, &kDb, "path", "print where it is"},
    {db_info, &kDb, "info", "size, rows and devices of it and of the shipped ones"},
    {db_list, &kDb, "list", "print winners; --shape, --M, --act .. choose some"},
    {db_show, &kDb, "show", "print one winner with its evidence (--shape, --M)"},
    {db_export, &kDb, "export",
     "print the measured winners as text; --history FILE: everything, as a database"},
    {db_import, &kDb, "import", "take winners of others (text or database) as hints", "FILE", 1,
     kManyFiles},
    {db_merge, &kDb, "merge", "add all rows of your own other databases", "FILE", 1, kManyFiles},
    {db_diff, &kDb, "diff", "compare the winners of two databases", "FILE", 1, 2},
    {db_verify, &kDb, "verify", "measure stored winners again"},
    {db_compact, &kDb, "compact", "drop replaced rows and raw samples"},
    {db_build, &kDb, "build", "make a database to ship of a text", "FILE", 2, 2},
    {dashboard, nullptr, "dashboard", "write databases as one page for a browser: --out DIR"},
};

}  // namespace

std::span<const CommandSpec> command_specs() { return kCommands; }

}  // namespace nvfp4
