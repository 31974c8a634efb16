import { type Exit, run } from '../../support/process.ts'
import { type Sshd, shellLine, sshOptions } from '../../support/sshd.ts'

/** What a program of the matrix is given. */
export interface ProgramContext {
  sshd: Sshd
  /** How ssh reaches it; undefined is straight to its port. */
  proxyCommand?: string | undefined
  /** The command line that really runs, such as one inside a network namespace. Default: as it is. */
  wrap?: ((command: string, args: readonly string[]) => [string, string[]]) | undefined
  env: NodeJS.ProcessEnv
  /** An empty folder of its own. */
  folder: string
  /** How much to move, in each direction where there are two. */
  byteCount: number
  /** How fast copies may be. Default: as fast as they can. */
  bytesPerSecond?: number | undefined
  seed: string
  /** Of programs that write lines: the time between two, on each side, in ms. */
  gapMs: number
  /** For programs that have no end of their own: when to come to it. */
  until: Promise<unknown>
  /** Ends everything, as failed. */
  signal: AbortSignal
  /** Something arrived that the far side had sent at this moment (ms since the epoch); for programs that can tell. */
  arrived(sentAtMs: number): void
  /** Runs around each session, so that stalls are measured inside sessions only. */
  session<T>(work: () => Promise<T>): Promise<T>
}

export interface ProgramResult {
  /** Payload bytes that were checked. */
  byteCount: number
  checksumOk: boolean
  exitStatus: number | null
  /** What went wrong, in a line. */
  detail?: string
}

export interface ChaosProgram {
  name: string
  /** System programs without which it is skipped. */
  needs: readonly string[]
  run(context: ProgramContext): Promise<ProgramResult>
}

export function optionsOf(context: ProgramContext): string[] {
  return sshOptions(context.sshd, {
    ...(context.proxyCommand !== undefined && { proxyCommand: context.proxyCommand }),
    // The tunnel answers for the path; ssh's own guards must not end a session that it keeps alive.
    set: ['ServerAliveInterval=0', 'TCPKeepAlive=no', 'ConnectTimeout=60'],
  })
}

/** ssh with those options as one line, for programs that start it themselves. */
export function sshLine(context: ProgramContext): string {
  return shellLine(['ssh', ...optionsOf(context)])
}

export function wrapped(
  context: ProgramContext,
  command: string,
  args: readonly string[],
): [string, string[]] {
  return context.wrap?.(command, args) ?? [command, [...args]]
}

/** Runs one session of a program to its end. */
export function runSession(
  context: ProgramContext,
  command: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv } = {},
): Promise<Exit & { stdout: string; stderr: string }> {
  const [program, words] = wrapped(context, command, args)
  const env = { ...context.env, ...options.env }
  return context.session(() => run(program, words, { env, signal: context.signal }))
}

/** The result of sessions that each moved `byteCount` bytes; `check` compares what arrived. */
export async function resultOf(
  sessions: (Exit & { stderr: string })[],
  byteCount: number,
  check: () => Promise<boolean>,
): Promise<ProgramResult> {
  const failed = sessions.find((session) => session.code !== 0)
  const checksumOk = await check().catch(() => false)
  const result: ProgramResult = { byteCount, checksumOk, exitStatus: failed ? failed.code : 0 }
  if (failed) result.detail = lastWords(failed.stderr) || `ended by ${failed.signal}`
  return result
}

/** The end of what a program said: its own last line, and what its ProxyCommand said before. */
export function lastWords(stderr: string): string {
  return stderr.trim().split('\n').slice(-4).join(' | ')
}
