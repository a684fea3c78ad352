// SPDX-License-Identifier: Apache-2.0
// Frames between the tuner and its workers, and the jobs inside them.
#include "tuner/message.h"

#include <doctest/doctest.h>

#include <string>

#include "generator/config_text.h"
#include "tuner/jobs.h"

using namespace nvfp4;

TEST_SUITE("message") {
  TEST_CASE("a message survives the wire, however it is cut") {
    const Message sent{.header = {{"kind", "test"}, {"n", 7}}, .body = std::string("a\0b", 3)};
    const std::string frame = encode(sent);
    std::string buffer;
    for (size_t i = 0; i + 1 < frame.size(); ++i) {
      buffer += frame[i];
      REQUIRE_FALSE(decode(buffer).has_value());
    }
    buffer += frame.back();
    buffer += frame;  // the next one follows at once
    for (int i = 0; i < 2; ++i) {
      const std::optional<Message> got = decode(buffer);
      REQUIRE(got.has_value());
      CHECK(got->header == sent.header);
      CHECK(got->body == sent.body);
    }
    CHECK(buffer.empty());
  }

  TEST_CASE("bytes that are no message are refused before anything is allocated for them") {
    std::string garbage = "hello";
    CHECK_THROWS_AS(decode(garbage), MessageError);
    std::string frame = encode(Message{});
    frame[7] = '\x7f';  // a header of 2 GB
    CHECK_THROWS_AS(decode(frame), MessageError);
    frame = encode(Message{});
    frame[11] = '\x7f';  // a body of 2 GB
    CHECK_THROWS_AS(decode(frame), MessageError);
    frame = encode(Message{.header = {1, 2}});
    CHECK_THROWS_AS(decode(frame), MessageError);
  }

  TEST_CASE("a log with bytes that are no UTF-8 can be sent") {
    std::string frame = encode(Message{.header = {{"log", "\xff\xfe ptxas"}}});
    CHECK(decode(frame).has_value());
  }
}

TEST_SUITE("jobs") {
  TEST_CASE("every job and answer comes back as it was sent") {
    const Problem problem{.n = 4096, .k = 512, .act = Activation::fp16, .arch = {9, 0, true}};
    const KernelConfig config{.act = Activation::fp16, .block_n = 128, .warps_k = 2, .pdl = true};

    const CanaryJob canary = decode_canary_job(encode(CanaryJob{"emulated:h100", 123, "ptx"}));
    CHECK(canary.device == "emulated:h100");
    CHECK(canary.free_bytes == 123);
    CHECK(canary.image == "ptx");
    const CanaryResult sung = decode_canary_result(encode(CanaryResult{99, "suspect"}));
    CHECK(sung.free_bytes == 99);
    CHECK(sung.error == "suspect");

    const CompileJob compile =
        decode_compile_job(encode(CompileJob{"source", {8, 6}, 13000, "/cache", 1 << 20}));
    CHECK(compile.source == "source");
    CHECK(compile.arch == Arch{8, 6});
    CHECK(compile.driver_version == 13000);
    CHECK(compile.cache_directory == "/cache");

    const Compilation compilation{.ok = true,
                                  .cubin = std::string("\x7f\0E", 3),
                                  .ptx = ".version",
                                  .log = "log",
                                  .resources = {1, 2, 3, 4, 5, 6},
                                  .warnings = {"w"}};
    CHECK(decode_compilation(encode(compilation)) == compilation);

    const EvaluateJob evaluate =
        decode_evaluate_job(encode(EvaluateJob{.device = "0",
                                               .problem = problem,
                                               .gate_n = 256,
                                               .config = config,
                                               .m = 63,
                                               .max_m = 64,
                                               .depth = GateDepth::full,
                                               .policies = {Policy::graph_pdl, Policy::eager},
                                               .seed = ~uint64_t{0},
                                               .image = "image"}));
    CHECK(evaluate.problem == problem);
    CHECK(evaluate.gate_n == 256);
    CHECK(evaluate.config == config);
    CHECK(evaluate.m == 63);
    CHECK(evaluate.depth == GateDepth::full);
    CHECK(evaluate.policies == std::vector{Policy::graph_pdl, Policy::eager});
    CHECK(evaluate.seed == ~uint64_t{0});
    CHECK(evaluate.image == "image");

    const Evaluation evaluation =
        decode_evaluation(encode(Evaluation{.verdict = Verdict::wrong,
                                            .text = "m=1",
                                            .registers = 99,
                                            .times = {{.policy = Policy::graph,
                                                       .samples_us = {1.5f, 2.5f},
                                                       .discarded = 3,
                                                       .clock_mhz = 1755,
                                                       .temperature_c = 45,
                                                       .power_w = 698.5,
                                                       .throttled = true,
                                                       .reasons = "heat"}}}));
    CHECK(evaluation.verdict == Verdict::wrong);
    CHECK(evaluation.registers == 99);
    CHECK(evaluation.times.at(0).samples_us == std::vector{1.5f, 2.5f});
    CHECK(evaluation.times[0].discarded == 3);
    CHECK(evaluation.times[0].clock_mhz == 1755);
    CHECK(evaluation.times[0].temperature_c == 45);
    CHECK(evaluation.times[0].power_w == 698.5);
    CHECK(evaluation.times[0].throttled);
    CHECK(evaluation.times[0].reasons == "heat");

    const FinalsJob finals = decode_finals_job(encode(FinalsJob{.device = "0",
                                                                .problem = problem,
                                                                .m = 8,
                                                                .policy = Policy::graph,
                                                                .configs = {config, config},
                                                                .images = {"one", "three"}}));
    CHECK(finals.images == std::vector<std::string>{"one", "three"});
    CHECK(finals.configs == std::vector{config, config});

    const Ceilings ceilings = decode_ceilings(encode(Ceilings{3e12, 1e-6, 7e14, false}));
    CHECK(ceilings.stream_bytes_per_s == 3e12);
    CHECK_FALSE(ceilings.modelled);
  }

  TEST_CASE("an answer of another kind, or one that lacks a field, is refused") {
    CHECK_THROWS_AS(decode_evaluation(encode(Ceilings{})), MessageError);
    CHECK_THROWS_AS(decode_evaluation(Message{}), MessageError);
    Message message = encode(Evaluation{});
    message.header.erase("verdict");
    CHECK_THROWS_AS(decode_evaluation(message), MessageError);
    Message lying = encode(Compilation{.ok = true, .cubin = "abc"});
    lying.body.clear();
    CHECK_THROWS_AS(decode_compilation(lying), MessageError);
  }

  TEST_CASE("a matrix job and its result come back, and neither is taken for the other") {
    const Message sent = encode(MatrixJob{.device = "0", .n = 4096, .k = 512, .m = 64});
    const MatrixJob job = decode_matrix_job(sent);
    CHECK(job.device == "0");
    CHECK(job.n == 4096);
    CHECK(job.k == 512);
    CHECK(job.m == 64);
    const MatrixResult timed = decode_matrix_result(
        encode(MatrixResult{.library = "cuBLASLt 13.1.0", .times = {.samples_us = {1.5F, 2.5F}}}));
    CHECK(timed.library == "cuBLASLt 13.1.0");
    CHECK(timed.error.empty());
    CHECK(timed.times.samples_us == std::vector<float>{1.5F, 2.5F});
    CHECK(decode_matrix_result(encode(MatrixResult{.error = "not found"})).error == "not found");
    CHECK_THROWS_AS(decode_matrix_result(sent), MessageError);
    Message empty = encode(MatrixResult{});
    empty.header["times"] = nlohmann::json::array();
    CHECK_THROWS_AS(decode_matrix_result(empty), MessageError);
  }
}
