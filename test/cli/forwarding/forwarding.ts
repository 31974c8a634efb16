import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { type Program, spawnProgram } from '../../support/process.ts'
import { startProxy, type TestProxy } from '../../support/proxy.ts'
import type { Scope } from '../../support/scope.ts'
import { startSshd } from '../../support/sshd.ts'
import { tempFolder } from '../../support/tree.ts'
import { isolated, startTunnel, TUNNEL } from '../tunnel.ts'

/** A proxy, and the agent `home` of alice's before a real sshd, in this process; the command itself is a program. */
export interface Ground {
  proxy: TestProxy
  env: NodeJS.ProcessEnv
  /** Starts a command that listens; resolves when it says that it is ready. `descriptors`: as many as it may have. */
  start(args: readonly string[], descriptors?: number): Promise<Program>
}

/**
 * @param allow what the agent may dial beside its sshd
 * @param set settings of the proxy
 */
export async function startGround(
  scope: Scope,
  allow: readonly string[] = [],
  set: string[] = [],
): Promise<Ground> {
  const [proxy, sshd] = await Promise.all([startProxy(scope, { set }), startSshd(scope)])
  await proxy.startAgent('home', 'alice', sshd, { allow })
  const settings = { TUNNEL_BACKOFF_BASE_MS: '20', TUNNEL_BACKOFF_MAX_MS: '200' }
  const access = { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: proxy.tokenOf('alice') }
  const env = isolated(await tempFolder(scope), { ...settings, ...access })
  return {
    proxy,
    env,
    async start(args, descriptors) {
      const limited = ['-c', `ulimit -n ${descriptors}; exec "$@"`, 'sh', ...TUNNEL, ...args]
      const program =
        descriptors === undefined
          ? startTunnel(scope, args, { env })
          : spawnProgram(scope, 'sh', limited, { env })
      await program.line(/^ready|"event":"ready"/)
      return program
    },
  }
}

/** The port at which `program` listens for `target`, or for anything. */
export async function portOf(program: Program, target = ''): Promise<number> {
  const escaped = target.replace(/[.[\]]/g, '\\$&')
  const [, port] = await program.line(new RegExp(`127\\.0\\.0\\.1:(\\d+) .*→ home.*${escaped}`))
  return Number(port)
}

/** A connection to a local port, as a program makes it; what it has read is `text`. */
export class Caller {
  readonly socket: Socket
  text = ''
  /** What ended it: 'end', or the code of its error. */
  readonly over: Promise<string>

  constructor(scope: Scope, place: number | string) {
    this.socket = connect(
      typeof place === 'number'
        ? { host: '127.0.0.1', port: place, allowHalfOpen: true }
        : { path: place, allowHalfOpen: true },
    )
    scope.after(() => this.socket.destroy())
    this.socket.on('data', (bytes) => {
      this.text += bytes.toString('latin1')
    })
    this.over = new Promise((resolve) => {
      this.socket.once('end', () => resolve('end'))
      this.socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'))
      this.socket.once('close', () => resolve('close'))
    })
  }

  /** Resolves when it has read `length` bytes; rejects when it ends before that. */
  async read(length: number): Promise<string> {
    while (this.text.length < length) {
      const how = await Promise.race([once(this.socket, 'data'), this.over])
      if (typeof how === 'string') throw new Error(`${how} after ${JSON.stringify(this.text.slice(-100))}`)
    }
    return this.text
  }

  /** Sends a word, and resolves with what comes back. */
  ask(word: string): Promise<string> {
    const length = this.text.length + word.length
    this.socket.write(word)
    return this.read(length)
  }
}
