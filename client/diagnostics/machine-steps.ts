import { randomBytes } from 'node:crypto'
import { TunnelError } from '../../protocol/codec/errors.ts'
import type { StreamDuplex } from '../../protocol/node/duplex.ts'
import type { ExecOptions, ExecResult } from '../exec.ts'
import type { RawStream } from '../raw-stream.ts'
import type { TunnelClient } from '../tunnel-client.ts'
import { type MachineFound, tellAgent } from './agent-step.ts'
import { MACHINE_STEPS } from './report.ts'
import { msText } from './spans.ts'
import type { Steps } from './steps.ts'

/** A client that can do more than requests. */
export interface MachineClient extends TunnelClient {
  open(request: RawStream): Promise<StreamDuplex>
  exec(machine: string, command: string, options?: ExecOptions): Promise<ExecResult>
}

/** A line that is longer is no greeting of an SSH server (RFC 4253, section 4.2), in bytes. */
const MAX_GREETING = 255
/** How long a service has to answer an HTTP request: it may speak another language, in ms. */
const HTTP_MS = 2_000
/** What is sent and fetched at most to measure, in bytes, and for how long, in ms. */
const MEASURED_BYTES = 2_097_152
const MEASURED_MS = 3_000

/** From the agent to a service on the machine. */
export async function tryMachine(
  client: MachineClient,
  machine: string,
  target: string | undefined,
  steps: Steps,
): Promise<void> {
  const found = await tellAgent(client, machine, steps)
  if (typeof found === 'string') return steps.skip(MACHINE_STEPS.slice(1), `the machine is ${found}`)
  await steps.run('sshd', (signal) => greetingOf(client, machine, signal))
  if (!(await tellLogin(client, machine, found, steps)))
    return steps.skip(['request', 'throughput'], 'the proxy cannot log in there')
  await steps.run('request', (signal) =>
    target === undefined ? runCommand(client, machine, signal) : askTarget(client, machine, target, signal),
  )
  await steps.run('throughput', () => measure(client, machine))
}

/** The SSH server's first line, over a sealed stream: what `tunnel ssh` would get. */
async function greetingOf(client: MachineClient, machine: string, signal: AbortSignal): Promise<string> {
  const stream = await client.open({ machine, kind: 'ssh', signal })
  try {
    let text = ''
    for await (const chunk of stream) {
      text += String(chunk)
      if (text.includes('\n') || text.length > MAX_GREETING) break
    }
    const [line = ''] = text.split('\n')
    if (line.startsWith('SSH-')) return line.trim()
    const what = line === '' ? 'the connection ended at once' : 'something else listens there'
    throw new TunnelError('SSH_HANDSHAKE_FAILED', `no SSH server answers: ${what}`, { hop: 'ssh' })
  } finally {
    stream.on('error', () => {}).destroy()
  }
}

/** The steps `host-key` and `ssh-authentication`, which one log-in of the proxy shows. Whether it got in. */
async function tellLogin(
  client: MachineClient,
  machine: string,
  { hostKeyChanged, hostKey = 'no key is pinned yet' }: MachineFound,
  steps: Steps,
): Promise<boolean> {
  const startedAtMs = performance.now()
  let failure: unknown
  try {
    await client.exec(machine, 'true', {
      timeoutMs: steps.stepMs,
      ...(steps.signal && { signal: steps.signal }),
    })
  } catch (error) {
    failure = error
  }
  const ms = performance.now() - startedAtMs
  const code = failure instanceof TunnelError ? failure.code : undefined
  if (code === 'HOST_KEY_CHANGED') steps.fail('host-key', failure, ms)
  else if (hostKeyChanged) {
    const text = `${machine} does not show the pinned key`
    steps.fail('host-key', new TunnelError('HOST_KEY_CHANGED', text, { hop: 'ssh' }))
  } else if (failure === undefined || code === 'SSH_AUTH_FAILED') steps.done('host-key', hostKey)
  else steps.skip('host-key', 'the proxy did not get that far')
  if (failure === undefined) steps.done('ssh-authentication', "the proxy's key for you is let in", ms)
  else if (code === 'HOST_KEY_CHANGED')
    steps.skip('ssh-authentication', 'the proxy does not log in where the key has changed')
  else steps.fail('ssh-authentication', failure, ms)
  return failure === undefined
}

async function runCommand(client: MachineClient, machine: string, signal: AbortSignal): Promise<string> {
  const { stdout } = await client.exec(machine, 'echo tunnel', { signal })
  const text = stdout.toString().trim()
  if (text === 'tunnel') return 'a command ran there'
  throw new TunnelError('INTERNAL', 'a command ran there, but its output is not what it should be', {
    hop: 'target',
  })
}

/** That it takes a connection decides; an answer to an HTTP request is told where there is one. */
async function askTarget(
  client: MachineClient,
  machine: string,
  target: string,
  signal: AbortSignal,
): Promise<string> {
  const stream = await client.open({ machine, kind: 'tcp', target, signal })
  stream.on('error', () => {}).destroy()
  const startedAtMs = performance.now()
  try {
    const patience = { timeoutMs: HTTP_MS, signal }
    const response = await client.fetch(`http://${machine}/`, { method: 'HEAD', target, ...patience })
    await response.body?.cancel()
    return `${target} answered ${response.status} after ${msText(performance.now() - startedAtMs)}`
  } catch {
    return `${target} accepts connections, but does not answer HTTP requests`
  }
}

/** Random bytes both ways, so that nothing on the way makes fewer of them. */
async function measure(client: MachineClient, machine: string): Promise<string> {
  const down = await rateOf(client, 'receivedBytes', (signal) =>
    client.exec(machine, `head -c ${MEASURED_BYTES} /dev/urandom`, { signal }),
  )
  const up = await rateOf(client, 'sentBytes', (signal) =>
    client.exec(machine, 'cat >/dev/null', { stdin: randomBytes(MEASURED_BYTES), signal }),
  )
  return `${rateText(down)} down, ${rateText(up)} up`
}

/** Bytes in a second while `work` runs, or is cut because it has shown enough. */
async function rateOf(
  client: MachineClient,
  direction: 'sentBytes' | 'receivedBytes',
  work: (signal: AbortSignal) => Promise<ExecResult>,
): Promise<number> {
  const { traffic } = client.metrics
  const [startedAtMs, before] = [performance.now(), traffic[direction]]
  const enough = AbortSignal.timeout(MEASURED_MS)
  try {
    const { exitCode } = await work(enough)
    if (exitCode !== 0)
      throw new TunnelError('INTERNAL', 'the machine has no program to measure with', { hop: 'target' })
  } catch (error) {
    if (!enough.aborted) throw error
  }
  return ((traffic[direction] - before) * 1_000) / (performance.now() - startedAtMs)
}

function rateText(bytesPerSecond: number): string {
  const megabytes = bytesPerSecond / 1_000_000
  return `${megabytes < 10 ? megabytes.toFixed(1) : Math.round(megabytes)} MB/s`
}
