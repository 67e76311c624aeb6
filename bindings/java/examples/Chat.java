// A chat in the terminal: reads lines, answers each with the whole conversation in mind. Usage: Chat MODEL.gguf
import dev.tessera.Engine;
import dev.tessera.GenerateOptions;
import dev.tessera.Message;
import dev.tessera.Model;
import dev.tessera.Request;
import dev.tessera.Runtime;
import dev.tessera.Session;
import dev.tessera.TesseraException;
import dev.tessera.Token;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

public final class Chat {
  private Chat() {}

  public static void main(String[] arguments) throws IOException {
    if (arguments.length != 1) {
      System.err.println("usage: Chat MODEL.gguf");
      System.exit(2);
    }
    GenerateOptions options = new GenerateOptions().maxTokens(128).temperature(0.7).topP(0.9).seed(1);
    List<Message> messages = new ArrayList<>();
    try (Runtime runtime = Runtime.create();
        Model model = Model.load(runtime, Path.of(arguments[0]));
        Engine engine = Engine.create(model);
        Session session = engine.newSession()) {
      var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
      for (String line = input.readLine(); line != null; line = input.readLine()) {
        messages.add(Message.user(line));
        session.rewind(0); // What is the same as last time is found in the cache.
        session.appendChat(messages);
        StringBuilder answer = new StringBuilder();
        try (Request request = session.generate(options)) {
          for (Token token : request) {
            System.out.print(token.text());
            System.out.flush();
            answer.append(token.text());
          }
        }
        System.out.println();
        messages.add(Message.assistant(answer.toString()));
      }
    } catch (TesseraException error) {
      System.err.println(error.status() + ": " + error.getMessage());
      System.exit(1);
    }
  }
}
