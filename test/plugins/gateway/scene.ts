import { connect, type Socket } from 'node:net'
import { startProxy, type TestProxy } from '../../support/proxy.ts'
import type { Scope } from '../../support/scope.ts'
import { startSshd } from '../../support/sshd.ts'

const DOMAIN = 'localhost'

export interface Scene {
  proxy: TestProxy
  token: string
  /** The path of a service of alice's machine. */
  base(port: number): string
}

/** A proxy with a gateway, and alice's machine behind it. */
export async function startScene(scope: Scope, set: string[] = []): Promise<Scene> {
  const [proxy, sshd] = await Promise.all([
    startProxy(scope, { set: [`gateway.host=${DOMAIN}`, 'pool.waitMs=120000', ...set] }),
    startSshd(scope),
  ])
  await proxy.startAgent('home', 'alice', sshd)
  const token = proxy.tokenOf('alice')
  return { proxy, token, base: (port) => `/api/tunnel/machines/home/http/${port}` }
}

/** A connection on which a test says what it likes. */
export class RawCaller {
  readonly socket: Socket
  text = ''
  /** Its peer has said all, or is gone. */
  isOver = false
  #wake: () => void = () => {}

  constructor(scope: Scope, port: number) {
    this.socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    scope.after(() => this.socket.destroy())
    this.socket.on('data', (bytes) => {
      this.text += bytes.toString('latin1')
      this.#wake()
    })
    this.socket.on('error', () => {})
    for (const event of ['end', 'close'])
      this.socket.on(event, () => {
        this.isOver = true
        this.#wake()
      })
  }

  send(text: string): this {
    this.socket.write(text, 'latin1')
    return this
  }

  /** Resolves when what has come matches, or nothing more comes. */
  async until(pattern: RegExp): Promise<string> {
    while (!pattern.test(this.text) && !this.isOver)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    return this.text
  }

  /** All that comes until the peer has said all. */
  over(): Promise<string> {
    return this.until(/(?!)/)
  }
}

/** The head of a request in the form by path. */
export function headOf(
  { base, token }: Scene,
  method: string,
  port: number,
  path: string,
  more = '',
): string {
  return `${method} ${base(port)}${path} HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer ${token}\r\n${more}\r\n`
}
