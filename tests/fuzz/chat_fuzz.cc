// Any template with any messages: an error or a text, never a crash, never more steps, memory or output than
// the limits say. An input is a template, a NUL, messages, a NUL, variables.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/text/chat/chat_template.h"
#include "core/text/chat/json_values.h"
#include "core/text/chat/messages.h"
#include "core/text/jinja/run.h"
#include "core/text/jinja/template.h"
#include "core/text/utf8.h"
#include "tests/fuzz/live_memory.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

namespace tessera {
namespace {

constexpr int64_t kSteps = 20000;
constexpr size_t kMemoryBytes = 512 << 10;
constexpr size_t kOutputBytes = 32 << 10;

void Require(bool condition, const char* what) {
  if (condition) return;
  fprintf(stderr, "chat_fuzz: broken: %s\n", what);
  std::abort();
}

jinja::Limits SmallLimits() {
  jinja::Limits limits;
  limits.max_steps = kSteps;
  limits.max_memory_bytes = kMemoryBytes;
  limits.max_output_bytes = kOutputBytes;
  return limits;
}

// The parts of an input; what is missing is empty.
struct Parts {
  absl::string_view source, messages, variables;
};
Parts TakeApart(absl::string_view input) {
  Parts parts;
  const size_t first = std::min(input.find('\0'), input.size());
  parts.source = input.substr(0, first);
  if (first == input.size()) return parts;
  const absl::string_view rest = input.substr(first + 1);
  const size_t second = std::min(rest.find('\0'), rest.size());
  parts.messages = rest.substr(0, second);
  if (second < rest.size()) parts.variables = rest.substr(second + 1);
  return parts;
}

void CheckText(const jinja::Text& text) {
  Require(text.size <= kOutputBytes, "the output is within its limit");
  Require(FirstInvalidUtf8(text.view()) == text.size, "the output is UTF-8");
}

// Step by step, so that what was used can be looked at.
void RunOnce(const Parts& parts) {
  const auto parsed = jinja::Template::Parse(parts.source);
  if (!parsed.ok()) {
    Require(!PlaceOf(parsed.status()).empty(), "an error has a place");
    return;
  }
  jinja::Run run(SmallLimits(), LocalTimeOf(1783256649));
  const auto messages = JsonToValue(run, parts.messages, "messages");
  const auto normalised = messages.ok() ? NormaliseMessages(run, *messages) : messages;
  if (normalised.ok()) run.Define("messages", *normalised);
  const auto variables = normalised.ok() ? JsonToValue(run, parts.variables, "variables") : normalised;
  if (variables.ok() && variables->is(jinja::Kind::kDict)) {
    for (size_t i = 0; i < variables->dict->size; ++i) {
      run.Define(variables->dict->entries[i].key.view(), variables->dict->entries[i].value);
    }
  }
  const jinja::Text* text = run.Render((*parsed)->body());
  Require((text == nullptr) == run.failed(), "there is a text or an error");
  Require(run.steps() <= kSteps || run.failed(), "steps are within their limit");
  Require(run.arena().taken_bytes() <= kMemoryBytes, "memory is within its limit");
  if (text != nullptr) CheckText(*text);
}

// As the library is called.
void RunWhole(const Parts& parts) {
  ChatRequest request;
  request.template_source = parts.source.empty() ? " " : parts.source;
  request.messages = parts.messages;
  request.variables = parts.variables;
  request.tools = parts.messages;
  request.local_time_s = 0;
  request.limits = SmallLimits();
  const auto rendered = ChatTemplates().Render(request);
  if (!rendered.ok()) return;
  size_t end = 0;
  for (const TextRange& range : rendered->from_host) {
    Require((range.begin > end || end == 0) && range.end > range.begin, "ranges are sorted and do not touch");
    end = range.end;
  }
  Require(end <= rendered->text.size() && rendered->text.size() <= kOutputBytes, "ranges lie in the text");
}

constexpr const char* kFragments[] = {"{{ ",
                                      " }}",
                                      "{% ",
                                      " %}",
                                      "{%- ",
                                      " -%}",
                                      "{{- ",
                                      " -}}",
                                      "{# ",
                                      " #}",
                                      "{%+ ",
                                      " +%}",
                                      "\n",
                                      "if ",
                                      "elif ",
                                      "else",
                                      "endif",
                                      "for x in ",
                                      "endfor",
                                      "for k, v in ",
                                      " recursive",
                                      "loop(x)",
                                      "loop.index",
                                      "loop.last",
                                      "loop.cycle('a', 'b')",
                                      "loop.changed(x)",
                                      "loop.previtem",
                                      "set x = ",
                                      "set ns.x = ",
                                      "endset",
                                      "set ns = namespace(x=1)",
                                      "ns.x",
                                      "macro m(a, b=1)",
                                      "endmacro",
                                      "m(1)",
                                      "m(m)",
                                      "call m()",
                                      "endcall",
                                      "caller()",
                                      "varargs",
                                      "kwargs",
                                      "filter upper",
                                      "endfilter",
                                      "with a = 1",
                                      "endwith",
                                      "raw",
                                      "endraw",
                                      "generation",
                                      "endgeneration",
                                      "break",
                                      "continue",
                                      "print ",
                                      "messages",
                                      "message",
                                      "x",
                                      "k",
                                      "v",
                                      "tools",
                                      "range(9)",
                                      "range(99999)",
                                      "dict(a=1)",
                                      "namespace()",
                                      "raise_exception('no')",
                                      "strftime_now('%Y %B %-d')",
                                      " is defined",
                                      " is none",
                                      " is string",
                                      " is mapping",
                                      " is iterable",
                                      " is odd",
                                      " is divisibleby 3",
                                      " is in [1]",
                                      " not ",
                                      " and ",
                                      " or ",
                                      " in ",
                                      " not in ",
                                      " if ",
                                      " else ",
                                      "|tojson",
                                      "|tojson(indent=2)",
                                      "|trim",
                                      "|length",
                                      "|list",
                                      "|join(', ')",
                                      "|map('upper')",
                                      "|map(attribute='role')",
                                      "|selectattr('role', 'equalto', 'user')",
                                      "|reject",
                                      "|select('odd')",
                                      "|sort",
                                      "|sort(attribute='role')",
                                      "|unique",
                                      "|batch(2)",
                                      "|slice(3)",
                                      "|dictsort",
                                      "|items",
                                      "|first",
                                      "|last",
                                      "|min",
                                      "|max",
                                      "|sum",
                                      "|reverse",
                                      "|replace('a', 'bb')",
                                      "|indent(3)",
                                      "|int",
                                      "|float",
                                      "|round(2)",
                                      "|abs",
                                      "|string",
                                      "|safe",
                                      "|e",
                                      "|title",
                                      "|capitalize",
                                      "|center(9)",
                                      "|format(1)",
                                      "|default('d')",
                                      "|wordcount",
                                      ".content",
                                      ".role",
                                      "['content']",
                                      "[0]",
                                      "[-1]",
                                      "[::-1]",
                                      "[1:3]",
                                      ".items()",
                                      ".keys()",
                                      ".get('a')",
                                      ".split()",
                                      ".split('a', 1)",
                                      ".rsplit()",
                                      ".strip()",
                                      ".splitlines()",
                                      ".startswith('a')",
                                      ".replace('', 'x')",
                                      ".format(1)",
                                      ".join(['a'])",
                                      ".upper()",
                                      ".title()",
                                      ".find('a')",
                                      ".partition('a')",
                                      ".append(1)",
                                      ".__class__",
                                      "zfill(9)",
                                      " + ",
                                      " - ",
                                      " * ",
                                      " / ",
                                      " // ",
                                      " % ",
                                      " ** ",
                                      " ~ ",
                                      " == ",
                                      " < ",
                                      " >= ",
                                      "(",
                                      ")",
                                      "[",
                                      "]",
                                      "{",
                                      "}",
                                      ", ",
                                      ": ",
                                      ".",
                                      "'a'",
                                      "'%s %d' % (1, 2)",
                                      "'ü世🎉'",
                                      "\"q\"",
                                      "1",
                                      "0",
                                      "-1",
                                      "9223372036854775807",
                                      "1.5",
                                      "1e300",
                                      "true",
                                      "none",
                                      "[1, 2, 3]",
                                      "{'a': 1}",
                                      "(1, 2)",
                                      "=",
                                      "*x",
                                      "**x",
                                      "[{\"role\": \"user\", \"content\": \"hi\"}]",
                                      "{\"a\": [1, 2.5, null, true, \"s\"]}",
                                      "\"\\u00e9\"",
                                      "[[[[1]]]]"};

uint32_t Next(uint32_t* state) { return *state = *state * 1664525 + 1013904223; }

// A piece of the language put in, or over what is there.
size_t InsertFragment(uint8_t* data, size_t size, size_t most, uint32_t seed) {
  const char* fragment = kFragments[(Next(&seed) >> 8) % (sizeof(kFragments) / sizeof(kFragments[0]))];
  const size_t length = std::strlen(fragment);
  const size_t at = size == 0 ? 0 : (Next(&seed) >> 8) % (size + 1);
  const bool over = (Next(&seed) >> 16) % 4 == 0;
  if (over && at + length <= size) {
    std::memcpy(data + at, fragment, length);
    return size;
  }
  if (size + length > most) return LLVMFuzzerMutate(data, size, most);
  std::memmove(data + at + length, data + at, size - at);
  std::memcpy(data + at, fragment, length);
  return size + length;
}

}  // namespace
}  // namespace tessera

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  // What is allocated once, such as the C library's time zones, is none of a run's.
  tessera::RunOnce({"{{ x }}{{ strftime_now('%Y') }}", "[{\"role\": \"user\"}]", "{\"x\": 1.5}"});
  __sanitizer_install_malloc_and_free_hooks(tessera::OnMalloc, tessera::OnFree);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  if (seed % 3 == 0) return LLVMFuzzerMutate(data, size, most);
  for (uint32_t left = 1 + seed / 3 % 3; left > 0; --left) {
    size = tessera::InsertFragment(data, size, most, seed + left * 7919);
  }
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera;  // NOLINT(google-build-using-namespace): one function
  const Parts parts = TakeApart({reinterpret_cast<const char*>(data), size});
  live_bytes = 0;
  peak_bytes = 0;
  counting = true;
  RunOnce(parts);
  counting = false;
  // The run's own memory, the tree (some hundred bytes a token), and the JSON parser's buffers.
  Require(peak_bytes <= static_cast<int64_t>(kMemoryBytes + 512 * size + (256 << 10)),
          "memory stays bounded");
  Require(live_bytes <= 0, "everything is given back");
  if (size % 8 == 0) RunWhole(parts);
  return 0;
}
