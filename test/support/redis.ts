import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { type Program, spawnProgram } from './process.ts'
import { until } from './proxy.ts'
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

export interface RedisOptions {
  /** Speaks TLS with this certificate, and nothing else. */
  tls?: { certFile: string; keyFile: string }
  /** The port of the master that it copies. */
  replicaOf?: number
}

/** A real Redis that keeps nothing on disk, with the rights that docs/CONFIGURATION.md gives the proxy's user. */
export async function startRedis(scope: Scope, { tls, replicaOf }: RedisOptions = {}): Promise<RedisServer> {
  const port = await freePort()
  const folder = await tempFolder(scope, 'redis')
  const rules = 'on ~ssh-websocket-tunnel:* &ssh-websocket-tunnel:* -@all +@read +@write +@scripting +@pubsub'
  const user = `tunnel >${PASSWORD} ${rules} +@connection +time +info`.split(' ')
  const listening =
    tls === undefined
      ? ['--port', String(port)]
      : [
          ...['--port', '0', '--tls-port', String(port), '--tls-auth-clients', 'no'],
          ...['--tls-cert-file', tls.certFile, '--tls-key-file', tls.keyFile],
        ]
  const args = [
    ...listening,
    ...(replicaOf === undefined ? [] : ['--replicaof', '127.0.0.1', String(replicaOf)]),
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
  const admin = new Redis(port, '127.0.0.1', tls === undefined ? {} : { tls: { rejectUnauthorized: false } })
  admin.on('error', () => {}) // It is ended in the middle of what it does.
  scope.after(() => admin.disconnect())
  return {
    url: `${tls === undefined ? 'redis' : 'rediss'}://tunnel:${PASSWORD}@127.0.0.1:${port}/0`,
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

/** A Sentinel alone that watches the Redis on this port; as `host:port`. */
async function startSentinel(scope: Scope, masterPort: number): Promise<string> {
  const port = await freePort()
  const folder = await tempFolder(scope, 'sentinel')
  const file = join(folder, 'sentinel.conf')
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${folder}`,
    `sentinel monitor mymaster 127.0.0.1 ${masterPort} 1`,
    'sentinel down-after-milliseconds mymaster 500',
    'sentinel failover-timeout mymaster 2000',
  ]
  // It writes into the file what it finds out.
  await writeFile(file, `${lines.join('\n')}\n`)
  const program = spawnProgram(scope, 'redis-server', [file, '--sentinel'])
  await program.line(/\+monitor master/)
  // It has to know of the copy before the master may fail.
  await program.line(/\+slave slave/)
  return `127.0.0.1:${port}`
}

/** A Redis that has a copy, and a Sentinel that puts the copy in its place when it fails. */
export async function startReplicated(
  scope: Scope,
): Promise<{ master: RedisServer; copy: RedisServer; sentinel: string }> {
  const master = await startRedis(scope)
  const copy = await startRedis(scope, { replicaOf: master.port })
  await until(async () => (await copy.admin.info('replication')).includes('master_link_status:up'))
  return { master, copy, sentinel: await startSentinel(scope, master.port) }
}
