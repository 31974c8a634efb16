/** Resolves when all is well; throws, or answers a text, to say what is not. */
export type HealthCheck = () => Promise<string | undefined> | string | undefined

export interface CheckResult {
  status: 'ok' | 'failed'
  /** What is wrong; no secret, and nobody's name: the route is open to all. */
  detail?: string
}

export interface Readiness {
  ready: boolean
  checks: Record<string, CheckResult>
}

const CHECK_TIMEOUT_MS = 2_000

/** What has to hold for this proxy to take new work. Each plugin adds the checks of what it owns. */
export class HealthChecks {
  readonly #checks = new Map<string, HealthCheck>()

  /** A later check of the same name takes the earlier one's place. */
  addCheck(name: string, check: HealthCheck): void {
    this.#checks.set(name, check)
  }

  #running: Promise<Readiness> | undefined

  /** All checks at once; one that says nothing in time has failed. Who asks while they run hears the same. */
  run(): Promise<Readiness> {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async #run(): Promise<Readiness> {
    const results = await Promise.all(
      [...this.#checks].map(async ([name, check]) => [name, await runOne(check)] as const),
    )
    return { ready: results.every(([, { status }]) => status === 'ok'), checks: Object.fromEntries(results) }
  }
}

async function runOne(check: HealthCheck): Promise<CheckResult> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(resolve, CHECK_TIMEOUT_MS, 'no answer in time')
    timer.unref()
  })
  try {
    const detail = await Promise.race([late, check()])
    return detail === undefined ? { status: 'ok' } : { status: 'failed', detail }
  } catch {
    // The error's text may name hosts or folders; its plugin logs it.
    return { status: 'failed', detail: 'the check itself failed' }
  } finally {
    clearTimeout(timer)
  }
}
