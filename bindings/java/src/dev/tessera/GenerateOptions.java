// Settings of a request: when it ends and how tokens are chosen.
package dev.tessera;

import java.time.Duration;
import java.util.List;
import java.util.Map;

/** Settings of {@link Session#generate}. */
public final class GenerateOptions extends Settings<GenerateOptions> {
  /** Most tokens to generate. 0: only compute what was appended. -1: until the context is full. */
  public GenerateOptions maxTokens(int tokens) {
    return set("request.max_tokens", tokens);
  }

  /** Strings that end the text before them. */
  public GenerateOptions stop(String... strings) {
    return set("request.stop", List.of(strings));
  }

  /** Tokens that end the text, beside the model's own. */
  public GenerateOptions stopTokens(long... tokens) {
    return set("request.stop_tokens", tokens);
  }

  /** Time from submission after which the request ends with {@link Finish#DEADLINE}. */
  public GenerateOptions deadline(Duration time) {
    return set("request.deadline_ns", time.toNanos());
  }

  /** Higher goes first; -100 to 100. */
  public GenerateOptions priority(int priority) {
    return set("request.priority", priority);
  }

  /** Go on after the model's end tokens. */
  public GenerateOptions ignoreEnd(boolean ignore) {
    return set("request.ignore_end", ignore);
  }

  /** Log-probabilities of each token and of so many alternatives, 0 to 20. */
  public GenerateOptions topLogprobs(int alternatives) {
    return set("request.top_logprobs", alternatives);
  }

  /** Divides the logits. 0: always the most probable token. */
  public GenerateOptions temperature(double temperature) {
    return set("sampling.temperature", temperature);
  }

  /** Only so many most probable tokens. 0: off. */
  public GenerateOptions topK(int tokens) {
    return set("sampling.top_k", tokens);
  }

  /** The fewest most probable tokens whose probabilities reach this sum. 1: off. */
  public GenerateOptions topP(double sum) {
    return set("sampling.top_p", sum);
  }

  /** Leaves out tokens less probable than this share of the most probable one. 0: off. */
  public GenerateOptions minP(double share) {
    return set("sampling.min_p", share);
  }

  /** With one seed, one session draws the same tokens again. */
  public GenerateOptions seed(long seed) {
    return set("sampling.seed", seed);
  }

  /** Divides the positive and multiplies the negative logits of tokens in the window. 1: off. */
  public GenerateOptions repetitionPenalty(double penalty) {
    return set("sampling.repetition_penalty", penalty);
  }

  /** Subtracted from a token's logit for each time it stands in the window. */
  public GenerateOptions frequencyPenalty(double penalty) {
    return set("sampling.frequency_penalty", penalty);
  }

  /** Subtracted from a token's logit once when it stands in the window. */
  public GenerateOptions presencePenalty(double penalty) {
    return set("sampling.presence_penalty", penalty);
  }

  /** How many of the session's last tokens penalties look at. */
  public GenerateOptions penaltyWindow(int tokens) {
    return set("sampling.penalty_window", tokens);
  }

  /** What is added to tokens' logits; negative infinity forbids a token. */
  public GenerateOptions logitBias(Map<Integer, Double> bias) {
    set("sampling.logit_bias_tokens", bias.keySet().stream().mapToLong(Integer::longValue).toArray());
    return set("sampling.logit_bias_values", bias.values().stream().mapToDouble(Double::doubleValue).toArray());
  }
}
