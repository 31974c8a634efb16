import { Redis } from 'ioredis'
import { type Program, spawnProgram } from './process.ts'
import type { Scope } from './scope.ts'
import { freePort } from './system.ts'
import { tempFolder } from './tree.ts'

const PASSWORD = 'a-password-of-redis'

export interface RedisServer {
  /** As the user `tunnel`, who may reach our keys and channels and no others. */
  readonly url: string
  readonly password: string
  readonly port: number
  readonly program: Program
  /** As a user who may everything. */
  readonly admin: Redis
  /** Ends it at once and starts it again, empty, where it was. */
  restart(): Promise<void>
}

/** A real Redis that keeps nothing on disk, with the rights that docs/CONFIGURATION.md gives the proxy's user. */
export async function startRedis(scope: Scope): Promise<RedisServer> {
  const port = await freePort()
  const folder = await tempFolder(scope, 'redis')
  const rules = 'on ~ssh-websocket-tunnel:* &ssh-websocket-tunnel:* -@all +@read +@write +@scripting +@pubsub'
  const user = `tunnel >${PASSWORD} ${rules} +@connection +time +info`.split(' ')
  const args = [
    '--port',
    String(port),
    '--bind',
    '127.0.0.1',
    '--save',
    '',
    '--dir',
    folder,
    '--user',
    ...user,
  ]
  const start = async (): Promise<Program> => {
    const program = spawnProgram(scope, 'redis-server', args)
    await program.line(/Ready to accept connections/)
    return program
  }
  let program = await start()
  const admin = new Redis(port, '127.0.0.1')
  admin.on('error', () => {}) // It is ended in the middle of what it does.
  scope.after(() => admin.disconnect())
  return {
    url: `redis://tunnel:${PASSWORD}@127.0.0.1:${port}/0`,
    password: PASSWORD,
    port,
    get program() {
      return program
    },
    admin,
    async restart() {
      program.kill('SIGKILL')
      await program.exit
      program = await start()
    },
  }
}
