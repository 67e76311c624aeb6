// Answers several prompts at once: each as a Flow of tokens that takes them a few at a time, and as a CompletableFuture
// of the whole. Usage: StreamOfAnswers MODEL.gguf PROMPT...
import dev.tessera.Answer;
import dev.tessera.Engine;
import dev.tessera.EngineOptions;
import dev.tessera.GenerateOptions;
import dev.tessera.Model;
import dev.tessera.Request;
import dev.tessera.Runtime;
import dev.tessera.Session;
import dev.tessera.TesseraException;
import dev.tessera.Token;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Flow;

public final class StreamOfAnswers {
  private StreamOfAnswers() {}

  // Takes four tokens, then asks for four more: a slow reader is never overrun.
  private static final class Writer implements Flow.Subscriber<Token> {
    private static final int AT_ONCE = 4;

    final CompletableFuture<String> written = new CompletableFuture<>();
    private final StringBuilder text = new StringBuilder();
    private Flow.Subscription subscription;
    private int taken;

    @Override
    public void onSubscribe(Flow.Subscription begun) {
      subscription = begun;
      begun.request(AT_ONCE);
    }

    @Override
    public void onNext(Token token) {
      text.append(token.text());
      if (++taken % AT_ONCE == 0) {
        subscription.request(AT_ONCE);
      }
    }

    @Override
    public void onError(Throwable error) {
      written.completeExceptionally(error);
    }

    @Override
    public void onComplete() {
      written.complete(text.toString());
    }
  }

  private static String describe(String prompt, String text, Answer answer) {
    double seconds = answer.decode().toNanos() / 1e9;
    double rate = seconds > 0 ? (answer.generatedTokens() - 1) / seconds : 0;
    return String.format("%s -> %s [%s, %.0f tokens a second]", prompt, text, answer.finish(), rate);
  }

  public static void main(String[] arguments) {
    if (arguments.length < 2) {
      System.err.println("usage: StreamOfAnswers MODEL.gguf PROMPT...");
      System.exit(2);
    }
    List<String> prompts = Arrays.asList(arguments).subList(1, arguments.length);
    GenerateOptions options = new GenerateOptions().maxTokens(48).deadline(Duration.ofMinutes(1));
    try (Runtime runtime = Runtime.create();
        Model model = Model.load(runtime, Path.of(arguments[0]));
        Engine engine = Engine.create(model, new EngineOptions().cacheTokens(128L * prompts.size()).contextTokens(128))) {
      List<Session> sessions = new ArrayList<>();
      List<CompletableFuture<String>> lines = new ArrayList<>();
      for (String prompt : prompts) {
        Session session = engine.newSession();
        sessions.add(session);
        session.appendText(prompt);
        Request request = session.generate(options);
        Writer writer = new Writer();
        request.publisher().subscribe(writer);
        lines.add(writer.written.thenCombine(request.answer(), (text, answer) -> describe(prompt, text, answer)));
      }
      lines.forEach(line -> System.out.println(line.join()));
      sessions.forEach(Session::close);
    } catch (TesseraException error) {
      System.err.println(error.status() + ": " + error.getMessage());
      System.exit(1);
    }
  }
}
