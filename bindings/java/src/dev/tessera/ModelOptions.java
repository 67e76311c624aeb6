// Settings of a load.
package dev.tessera;

/** Settings of {@link Model#load}. */
public final class ModelOptions extends Settings<ModelOptions> {
  /** Where the weights go: "cpu", "auto", "cuda", "cuda:N" or a GPU's UUID. */
  public ModelOptions device(String device) {
    return set("model.device", device);
  }

  /** Watches the load and may end it. */
  public ModelOptions progress(ProgressListener listener) {
    return setProgress("model.progress", listener);
  }

  /** Threads that read and lay out weights at once. */
  public ModelOptions loadThreads(int threads) {
    return set("model.load_threads", threads);
  }

  /** Most calls of a {@link ModelReader} at once. */
  public ModelOptions readThreads(int threads) {
    return set("model.read_threads", threads);
  }
}
