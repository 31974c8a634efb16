import { context } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { IORedisInstrumentation } from '@opentelemetry/instrumentation-ioredis'
import { UndiciInstrumentation } from '@opentelemetry/instrumentation-undici'
import { Redis } from 'ioredis'
import { tracerOfContext } from './tracer.ts'

const provider = { getTracer: () => tracerOfContext }

/** What it does to a class. */
interface Patch {
  patch(module: typeof Redis): void
  unpatch(module: typeof Redis): void
}

/** The requests that a proxy makes itself, each as a span of the work that it is made for. */
class Clients {
  // It is not asked to watch what is loaded: in one file with everything else, nothing is.
  readonly #redis = new IORedisInstrumentation({
    enabled: false,
    requireParentSpan: true,
    // A key may be somebody's credential.
    dbStatementSerializer: (command) => String(command),
  })
  readonly #undici = new UndiciInstrumentation({ requireParentforSpans: true })
  readonly #ownsContext = context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())

  constructor() {
    for (const instrumentation of [this.#redis, this.#undici]) instrumentation.setTracerProvider(provider)
    for (const { patch } of this.#patches()) patch(Redis)
  }

  close(): void {
    this.#undici.disable()
    for (const { unpatch } of this.#patches()) unpatch(Redis)
    if (this.#ownsContext) context.disable()
  }

  #patches(): Patch[] {
    return (this.#redis as unknown as { _modules: Patch[] })._modules
  }
}

let clients: Clients | undefined
let users = 0

/** They are the process', however many proxies are in it. Returns what ends the use; safe to call twice. */
export function watchClients(): () => void {
  clients ??= new Clients()
  users++
  let isOver = false
  return () => {
    if (isOver) return
    isOver = true
    if (--users > 0) return
    clients?.close()
    clients = undefined
  }
}
