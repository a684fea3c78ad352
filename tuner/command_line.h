// SPDX-License-Identifier: Apache-2.0
// The command line as a value: every option parsed and checked before anything costs time. Options
// may stand anywhere; each long option has a twin in the environment (NVFP4_DEVICE for --device),
// which the command line overrides.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "generator/device.h"
#include "generator/problem.h"
#include "templates/kernel_config.h"
#include "tuner/command.h"
#include "tuner/db_request.h"
#include "tuner/suite.h"
#include "tuning_db/records.h"

namespace nvfp4 {

enum class Effort { quick, full };
enum class Format { table, json, jsonl, csv, md };
enum class EmitForm { source, ptx, resources };

/// What the page is made of, and where it goes.
struct DashboardRequest {
  std::string out;                     ///< a folder, made if it is not there
  std::vector<std::string> databases;  ///< none: the user's and the shipped ones
};

/// One of `count` parts of the work, counted from 1.
struct Shard {
  int index = 1;
  int count = 1;
};

struct CommandLine {
  Command command = Command::tune;
  std::string text;         ///< help or version: what to print; else the command, to reproduce it
  std::string worker_role;  ///< worker: "compile", "bench" or "tune"
  std::vector<std::string> arguments;  ///< as they were given

  int64_t n = 0;
  int64_t k = 0;
  int64_t experts = 0;          ///< of a grouped problem; 0: dense
  std::vector<int64_t> tokens;  ///< ascending
  Activation act = Activation::bf16;
  std::string device = "auto";
  std::optional<std::string> db;     ///< default_database_path() when empty
  std::optional<std::string> cache;  ///< cache_options_from_environment() when empty
  Format format = Format::table;
  std::optional<Policy> policy;  ///< every policy the device has when empty
  uint64_t seed = 1;

  Effort effort = Effort::full;
  std::optional<std::chrono::milliseconds> budget;
  int jobs = 0;            ///< compile processes; 0: by cores and memory
  int tuners = 1;          ///< of this machine, one a device, that share its cores and memory
  int max_candidates = 0;  ///< for each M; 0: by effort
  bool force = false;
  bool wait = true;     ///< for another tuner on the same card
  bool shared = false;  ///< measure on a card that others use too
  std::vector<KernelConfig> configs;

  bool strict = false;       ///< lookup
  std::optional<Arch> arch;  ///< emit
  EmitForm as = EmitForm::source;

  std::vector<Shape> shapes;         ///< tune, bench and regret, in the order to measure, each once
  std::vector<std::string> models;  ///< tune and bench: names, folders or config.json files
  std::vector<int64_t> tps = {1};    ///< tune: degrees of tensor parallelism, ascending
  bool plan = false;                 ///< tune: say what there is to do, and no more
  Shard shard;                       ///< tune: which share of the shapes

  int sweep = 0;      ///< regret: configs of each sweep; 0: none
  int processes = 1;  ///< regret: that pick

  bool baseline = false;            ///< bench: cuBLASLt too
  std::optional<std::string> save;  ///< bench and regret: files
  std::optional<std::string> plot;
  std::vector<std::string> from;  ///< show the union of these and measure nothing
  bool record = false;            ///< bench: into the history
  bool winners = false;           ///< bench: the cells that this card has winners for
  double sample = 1;              ///< ... of each M, so many of them

  std::vector<std::string> compared;  ///< compare: OLD and NEW
  bool fail_on_regression = false;

  DbRequest db_request;
  DashboardRequest dashboard;
  std::string checkpoint;  ///< inspect: a folder or a file
  bool memory = false;
  bool layers = false;  ///< a row for each layer
  int64_t batch = 1;
  int64_t step_tokens = 1;          ///< of each sequence
  int64_t ranks = 1;                ///< of tensor parallelism
  std::optional<std::string> pack;  ///< the packed file to write
};

/// `arguments` without the program's name. Reads the environment. Throws UsageError.
CommandLine parse_command_line(std::span<const std::string> arguments);

/// "90s", "5m", "1h", "250ms" or plain seconds; empty when it is none of these or not positive.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);

}  // namespace nvfp4
