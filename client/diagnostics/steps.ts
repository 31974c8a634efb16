import { asTunnelError, TunnelError } from '../../protocol/codec/errors.ts'
import {
  DIAGNOSTIC_STEPS,
  type DiagnosticName,
  type DiagnosticOptions,
  type DiagnosticReport,
  type DiagnosticStep,
} from './report.ts'

const STEP_MS = 10_000

/** What a step that fails may add to its error's own advice. */
export interface Advice {
  suggestion?: string
}

/** What has come through by another way than the usual one. */
export interface Warning {
  detail: string
  suggestion: string
  /** Why it was not the usual one, where that is known. */
  why: TunnelError | undefined
}

/** Runs steps one after the other, each bounded in time, and keeps what they found. */
export class Steps {
  readonly #options: DiagnosticOptions
  readonly #steps: DiagnosticStep[] = []
  /** The proxy's address that the next steps are about, where there are several. */
  address: string | undefined

  constructor(options: DiagnosticOptions) {
    this.#options = options
  }

  get stepMs(): number {
    return this.#options.stepMs ?? STEP_MS
  }

  /** Calls the whole diagnosis off. */
  get signal(): AbortSignal | undefined {
    return this.#options.signal
  }

  /**
   * @param work answers with what it found; its signal ends it when its time is over
   * @returns whether it went well
   */
  async run(
    name: DiagnosticName,
    work: (signal: AbortSignal) => Promise<string | Warning>,
  ): Promise<boolean> {
    const startedAtMs = performance.now()
    const stop = new AbortController()
    try {
      const found = await this.#within(name, work(stop.signal))
      this.done(name, found, performance.now() - startedAtMs)
      return true
    } catch (error) {
      this.fail(name, error, performance.now() - startedAtMs)
      return false
    } finally {
      stop.abort()
    }
  }

  done(name: DiagnosticName, found: string | Warning, ms = 0): void {
    if (typeof found === 'string') return this.#add(name, { status: 'ok', detail: found, ms })
    const { detail, suggestion, why } = found
    this.#add(name, { status: 'warning', detail, suggestion, ms, ...(why && { code: why.code }) })
  }

  /** @throws {TunnelError} ABORTED when the whole diagnosis was called off */
  fail(name: DiagnosticName, thrown: unknown, ms = 0, advice: Advice = {}): void {
    const { signal } = this.#options
    if (signal?.aborted) throw calledOff()
    const error = asTunnelError(thrown, DIAGNOSTIC_STEPS[name].hop)
    const suggestion = [advice.suggestion, error.suggestion].filter(Boolean).join('; ')
    this.#add(name, { status: 'failed', detail: error.message, code: error.code, suggestion, ms })
  }

  skip(names: DiagnosticName | readonly DiagnosticName[], why: string): void {
    for (const name of [names].flat() as DiagnosticName[])
      this.#add(name, { status: 'skipped', detail: why, ms: 0 })
  }

  report(): DiagnosticReport {
    const firstFailure = this.#steps.find(({ status }) => status === 'failed')
    const ok = firstFailure === undefined
    return { ok, steps: this.#steps, ...(firstFailure && { firstFailure }) }
  }

  #add(
    name: DiagnosticName,
    found: Pick<DiagnosticStep, 'status' | 'detail' | 'ms' | 'code' | 'suggestion'>,
  ): void {
    const { hop } = DIAGNOSTIC_STEPS[name]
    const step: DiagnosticStep = { name, hop, ...found, ...(this.address && { address: this.address }) }
    this.#steps.push(step)
    this.#options.onStep?.(step)
  }

  #within<T>(name: DiagnosticName, work: Promise<T>): Promise<T> {
    const { stepMs } = this
    const { signal } = this.#options
    return new Promise((resolve, reject) => {
      const text = `${DIAGNOSTIC_STEPS[name].asks}: not known after ${stepMs / 1_000} s`
      const late = setTimeout(
        () => reject(new TunnelError('TIMEOUT', text, { hop: DIAGNOSTIC_STEPS[name].hop })),
        stepMs,
      )
      const onAbort = () => reject(calledOff())
      signal?.addEventListener('abort', onAbort, { once: true })
      if (signal?.aborted) onAbort()
      work.then(resolve, reject).finally(() => {
        clearTimeout(late)
        signal?.removeEventListener('abort', onAbort)
      })
    })
  }
}

function calledOff(): TunnelError {
  return new TunnelError('ABORTED', 'the diagnosis was called off', { hop: 'client' })
}
