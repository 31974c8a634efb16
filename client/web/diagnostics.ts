import { asTunnelError, type ErrorCode } from '../../protocol/codec/errors.ts'
import type { Reach } from '../../protocol/options.ts'
import { tellAgent } from '../diagnostics/agent-step.ts'
import { type DiagnosticName, MACHINE_STEPS } from '../diagnostics/report.ts'
import { msText } from '../diagnostics/spans.ts'
import type { Steps } from '../diagnostics/steps.ts'
import type { TunnelClient } from '../tunnel-client.ts'
import { within } from '../within.ts'

export { diagnose } from '../diagnostics/run.ts'
export { subjectOf } from '../diagnostics/subject.ts'

/** What a request goes through before it reaches its service, and the error that tells of each. */
const ON_THE_WAY = [
  ['sshd', 'SSH_HANDSHAKE_FAILED'],
  ['host-key', 'HOST_KEY_CHANGED'],
  ['ssh-authentication', 'SSH_AUTH_FAILED'],
] as const satisfies (readonly [DiagnosticName, ErrorCode])[]
/** An answer that is shorter says nothing of how much the way carries, in bytes. */
const LEAST_MEASURED_BYTES = 65_536
/** What is read at most to measure, in bytes, and for how long, in ms. */
const MOST_MEASURED_BYTES = 2_097_152
const MEASURED_MS = 3_000
const NOTHING: ReadableStreamReadDoneResult<Uint8Array> = { value: undefined, done: true }

export async function tryNetwork(_url: string, _reach: Reach, steps: Steps): Promise<undefined> {
  steps.skip(['dns', 'tcp', 'http-proxy', 'tls'], 'a browser tells a page nothing about it')
}

/** A page runs no commands: all that it sees of the way behind the agent is one request. */
export async function tryMachine(
  client: TunnelClient,
  machine: string,
  target: string | undefined,
  steps: Steps,
): Promise<void> {
  const behind = MACHINE_STEPS.slice(1)
  if ((await tellAgent(client, machine, steps)) === 'off line')
    return steps.skip(behind, 'the machine is off line')
  if (target === undefined) return steps.skip(behind, 'no target was named, and a page runs no commands')
  const startedAtMs = performance.now()
  const spentMs = () => performance.now() - startedAtMs
  try {
    const url = `http://${machine}${/:\d+$/.exec(target)?.[0] ?? ''}/`
    const response = await client.fetch(url, { target, timeoutMs: steps.stepMs, redirect: 'manual' })
    for (const [name] of ON_THE_WAY) steps.done(name, 'the request has passed it')
    steps.done('request', `${target} answered ${response.status} after ${msText(spentMs())}`, spentMs())
    await measure(response.body, steps)
  } catch (error) {
    tellFailure(error, spentMs(), steps)
  }
}

function tellFailure(error: unknown, ms: number, steps: Steps): void {
  const { code } = asTunnelError(error, 'target')
  const reached = ON_THE_WAY.findIndex(([, of]) => of === code)
  const at = reached === -1 ? ON_THE_WAY.length : reached
  for (const [index, [name]] of ON_THE_WAY.entries()) {
    if (index === at) steps.fail(name, error, ms)
    else steps.skip(name, index < at && reached !== -1 ? 'it was passed' : 'no request has passed it')
  }
  if (reached === -1) steps.fail('request', error, ms)
  else steps.skip('request', 'the proxy cannot log in there')
  steps.skip('throughput', 'nothing came')
}

/** How fast the answer comes; its reader takes all there is. */
async function measure(body: ReadableStream<Uint8Array> | null, steps: Steps): Promise<void> {
  let bytes = 0
  const startedAtMs = performance.now()
  const spentMs = () => performance.now() - startedAtMs
  const reader = body?.getReader()
  try {
    while (reader !== undefined && bytes < MOST_MEASURED_BYTES && spentMs() < MEASURED_MS) {
      const { value, done } = await within(reader.read(), MEASURED_MS - spentMs(), NOTHING)
      if (done) break
      bytes += value.length
    }
  } catch (error) {
    return steps.fail('throughput', error, spentMs())
  } finally {
    void reader?.cancel().catch(() => {})
  }
  if (bytes < LEAST_MEASURED_BYTES)
    return steps.skip('throughput', `an answer of ${bytes} bytes is too short for a measurement`)
  steps.done('throughput', `${(bytes / 1_000 / spentMs()).toFixed(1)} MB/s down`, spentMs())
}
