// A chat in the terminal: one session, answers as they come. Usage: chat MODEL.gguf
#include <cstdio>
#include <iostream>
#include <string>
#include <tessera/tessera.hpp>

namespace {

int Fail(const tessera::error& e) {
  std::fprintf(stderr, "%s\n", e.what().c_str());
  return 1;
}

std::string Quoted(const std::string& text) {  // as JSON
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') json += '\\';
    if (static_cast<unsigned char>(c) >= ' ') json += c;
  }
  return json + '"';
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  auto runtime = tessera::runtime::create();
  if (!runtime) return Fail(runtime.error());
  auto model = tessera::model::load(*runtime, argv[1]);
  if (!model) return Fail(model.error());
  auto engine = tessera::engine::create(*model);
  if (!engine) return Fail(engine.error());
  auto session = tessera::session::create(*engine);
  if (!session) return Fail(session.error());
  auto queue = tessera::queue::create(*runtime);
  if (!queue) return Fail(queue.error());

  tessera::event_buffer events;
  std::string messages, line;
  while (std::cout << "> " << std::flush && std::getline(std::cin, line)) {
    messages += (messages.empty() ? "" : ",") + ("{\"role\":\"user\",\"content\":" + Quoted(line)) + "}";
    // The whole conversation again: what the session knows of it already is not computed again.
    if (auto done = session->rewind(0); !done) return Fail(done.error());
    if (auto done = session->append_chat("[" + messages + "]"); !done) return Fail(done.error());
    auto request = session->generate(*queue, 0, tessera::options().set("request.max_tokens", 200));
    if (!request) return Fail(request.error());
    std::string answer;
    for (bool running = true; running;) {
      if (auto done = queue->poll(events); !done) return Fail(done.error());
      for (const tessera::event event : events) {
        if (event.is_tokens()) std::cout << event.text() << std::flush, answer += event.text();
        if (event.is_finished()) running = false;
      }
    }
    messages += ",{\"role\":\"assistant\",\"content\":" + Quoted(answer) + "}";
    std::cout << "\n";
  }
}
