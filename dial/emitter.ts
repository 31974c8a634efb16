type Listener<Args extends unknown[]> = (...args: Args) => void
type AnyListener = Listener<never>

/**
 * Typed events, in Node and in browsers. Unlike node:events, an 'error' without a listener does not throw: the caller's
 * promise rejects anyway, and a lost link must not end a program. A listener that throws stops no other.
 */
export class Emitter<Events extends Record<keyof Events, unknown[]>> {
  readonly #listeners = new Map<keyof Events, Set<AnyListener>>()

  /** Returns what takes the listener off again. */
  on<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): () => void {
    const listeners = this.#listeners.get(name) ?? new Set()
    listeners.add(listener as AnyListener)
    this.#listeners.set(name, listeners)
    return () => this.off(name, listener)
  }

  once<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): () => void {
    const off = this.on(name, (...args) => {
      off()
      listener(...args)
    })
    return off
  }

  off<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): void {
    this.#listeners.get(name)?.delete(listener as AnyListener)
  }

  protected emit<Name extends keyof Events>(name: Name, ...args: Events[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        ;(listener as unknown as Listener<Events[Name]>)(...args)
      } catch (error) {
        this.listenerFailed(name, error)
      }
    }
  }

  protected has(name: keyof Events): boolean {
    return (this.#listeners.get(name)?.size ?? 0) > 0
  }

  /** As EventTarget has it: the mistake is its program's to hear of, and stops nothing here. */
  protected listenerFailed(_name: keyof Events, thrown: unknown): void {
    queueMicrotask(() => {
      throw thrown
    })
  }
}
