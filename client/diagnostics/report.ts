import type { ErrorCode, Hop } from '../../protocol/codec/errors.ts'

/** Every step, in the order of the way: from this computer to a service on the machine. */
export const DIAGNOSTIC_STEPS = {
  dns: { hop: 'client', asks: 'the name of the proxy has an address' },
  tcp: { hop: 'link', asks: 'something listens there' },
  'http-proxy': { hop: 'link', asks: 'the HTTP proxy on the way lets us through' },
  tls: { hop: 'link', asks: 'its certificate is good' },
  upgrade: { hop: 'link', asks: 'a WebSocket passes' },
  authentication: { hop: 'proxy', asks: 'the proxy takes the token' },
  hello: { hop: 'proxy', asks: 'both speak the same protocol' },
  'round-trip': { hop: 'link', asks: 'how long an answer of the proxy takes' },
  agent: { hop: 'agent', asks: 'the machine is on line' },
  sshd: { hop: 'ssh', asks: 'the SSH server of the machine answers' },
  'host-key': { hop: 'ssh', asks: 'its host key is the pinned one' },
  'ssh-authentication': { hop: 'ssh', asks: "it lets the proxy's key for you in" },
  request: { hop: 'target', asks: 'a request is answered' },
  throughput: { hop: 'link', asks: 'how much the whole way carries' },
} as const satisfies Record<string, { hop: Hop; asks: string }>

export type DiagnosticName = keyof typeof DIAGNOSTIC_STEPS

/** Those behind the proxy. */
export const MACHINE_STEPS = [
  'agent',
  'sshd',
  'host-key',
  'ssh-authentication',
  'request',
  'throughput',
] as const satisfies readonly DiagnosticName[]

export interface DiagnosticStep {
  readonly name: DiagnosticName
  /** Where on the way it looks. */
  readonly hop: Hop
  /**
   * `warning`: it is not as it should be, and something else does its work. `skipped`: there was nothing to try, or
   * nothing left to try it with; `detail` says why.
   */
  readonly status: 'ok' | 'warning' | 'failed' | 'skipped'
  /** How long it took. */
  readonly ms: number
  /** What was found, or what is wrong. */
  readonly detail: string
  /** The error's code, of one that failed or warns. */
  readonly code?: ErrorCode
  /** What to do about one that failed or warns; may be empty. */
  readonly suggestion?: string
  /** The proxy's address, where there are several. */
  readonly address?: string
}

export interface DiagnosticReport {
  /** No step failed. */
  readonly ok: boolean
  readonly steps: readonly DiagnosticStep[]
  /** The first on the way that failed. */
  readonly firstFailure?: DiagnosticStep
}

export interface DiagnosticOptions {
  /** @default the way to the proxy alone */
  machine?: string
  /** `host:port` on the machine's side, to which the real request goes. @default a command */
  target?: string
  /** For each step, in ms. @default 10_000 */
  stepMs?: number
  /** Ends the diagnosis; what was not tried is not in the report. */
  signal?: AbortSignal
  /** Is told of each step when it is over. */
  onStep?: (step: DiagnosticStep) => void
}
