/** Whatever closes things at its end: a test's context, or a `Cleanup` outside of tests. */
export interface Scope {
  after(close: () => unknown): void
}

/** A Scope for programs that are no tests (chaos, benchmarks): closes in reverse order, each exactly once. */
export class Cleanup implements Scope {
  readonly #closers: (() => unknown)[] = []

  after(close: () => unknown): void {
    this.#closers.push(close)
  }

  /** Closes everything, whatever fails; then throws the first failure. */
  async close(): Promise<void> {
    const failures: unknown[] = []
    for (let close = this.#closers.pop(); close !== undefined; close = this.#closers.pop()) {
      try {
        await close()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }
}
