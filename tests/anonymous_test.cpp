// SPDX-License-Identifier: Apache-2.0
#include "tuning_db/anonymous.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <iterator>

#include "tests/temporary_folder.h"
#include "tests/tuning_db_fixture.h"

using namespace nvfp4;

TEST_SUITE("anonymous") {
  TEST_CASE("files of a command line go, with a folder or without, and the rest stays") {
    const Anonymizer hide("node7.example.org", "alice");
    CHECK(hide.command("nvfp4-tune --shape 64,128 --M 1:512*2 --db alice.db --seed 3") ==
          "nvfp4-tune --shape 64,128 --M 1:512*2 --db PATH --seed 3");
    CHECK(hide.command("nvfp4-tune --db=/home/alice/t.db --cache '~/my cache' --M 64") ==
          "nvfp4-tune --db=PATH --cache 'PATH cache' --M 64");
    CHECK(hide.command("nvfp4-tune bench --from runs/a.json --shape 64,64") ==
          "nvfp4-tune bench --from PATH --shape 64,64");
    CHECK(hide.command("nvfp4-tune --config family=mma,act=bf16,block_m=8 --M 8") ==
          "nvfp4-tune --config family=mma,act=bf16,block_m=8 --M 8");
  }

  TEST_CASE("names, addresses and serial numbers of a machine go, figures stay") {
    const Anonymizer hide("node7.example.org", "alice");
    CHECK(hide.text("2994.5 GB/s at 1980 MHz, F = 0.981, 128 registers/thread") ==
          "2994.5 GB/s at 1980 MHz, F = 0.981, 128 registers/thread");
    CHECK(hide.text("cannot open /tmp/alice/x.ptx: denied") == "cannot open PATH: denied");
    CHECK(hide.text("src/gemm.cu:12: spills") == "PATH: spills");
    CHECK(hide.text("alice@node7: node7.example.org and node70") == "NAME@NAME: NAME and node70");
    CHECK(hide.text("GPU-01234567-89ab-cdef-0123-456789abcdef lost") == "ID lost");
    CHECK(hide.text("uuid 0123456789abcdef0123456789abcdef") == "uuid ID");
    CHECK(hide.text("card 0000:3b:00.0, serial 1654523012345") == "card ID, serial ID");
    CHECK(hide.text("m=1 n=2 at 03:04") == "m=1 n=2 at 03:04");
    const std::string hash(64, 'a');
    CHECK(hide.text(hash) == hash);
  }

  TEST_CASE("a history that is given away holds no name of the machine, its user or their files") {
    const Anonymizer hide = Anonymizer::here();
    std::array<char, 256> host{};
    gethostname(host.data(), host.size() - 1);
    const TemporaryFolder folder;
    TuningDb own("", Access::memory);
    RunRecord run = run_on(h100());
    run.command = "nvfp4-tune --shape 4096,4096 --M 64 --db /srv/secret-project/tuning.db";
    run.device_name = std::string("NVIDIA H100 of ") + host.data();
    Measurement row = measurement_of(config_of(8), 64, 12.5);
    row.text = std::string("worker on ") + host.data() + " wrote /srv/secret-project/log";
    add_winner(own, own.add_run(run), h100(), row);
    const std::string path = folder / "given.db";
    {
      TuningDb given(path, Access::read_write);
      TuningDb* const sources[] = {&own};
      merge(given, sources, hide.rewrite());
    }
    std::ifstream file(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    CHECK(bytes.find("secret") == bytes.npos);
    CHECK(bytes.find(std::string(" ") + host.data()) == bytes.npos);
    TuningDb given(path, Access::immutable);
    REQUIRE(given.winners().size() == 1);
    CHECK(given.winners()[0].expected_us == 12.5);
    CHECK(given.measurements()[0].samples_us == row.samples_us);
    CHECK(given.runs()[0].command == "nvfp4-tune --shape 4096,4096 --M 64 --db PATH");
  }
}
