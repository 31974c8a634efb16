import fp from 'fastify-plugin'
import { MIN_SECRET_BYTES } from '../../protocol/node/secrets.ts'
import { checkAlgorithms, hasNativeCrypto } from './algorithms.ts'
import type { SSHConnection } from './connection.ts'
import { masterSecretUnfit } from './errors.ts'
import type { SshOptions } from './options.ts'
import { SSHTunnelManager, type SshConnectRequest } from './tunnel.ts'

export type { CommandChannel, CommandExit, SSHConnection } from './connection.ts'
export type { SshConnectRequest } from './tunnel.ts'

export interface Ssh {
  connect(request: SshConnectRequest): Promise<SSHConnection>
  /** `ssh-ed25519 AAAA… tunnel:<userId>` */
  publicKey(userId: string): string
}

declare module 'fastify' {
  interface FastifyInstance {
    ssh: Ssh
  }
}

export default fp<SshOptions>(
  async (app, options) => {
    const byteLength = Buffer.byteLength(options.masterSecret)
    if (byteLength < MIN_SECRET_BYTES) throw masterSecretUnfit(byteLength)
    checkAlgorithms(options.algorithms)
    if (!hasNativeCrypto())
      app.log.warn(
        '`tunnel request`, `tunnel exec`, `tunnel shell` and `tunnel cp` are several times slower than they could be, `tunnel ssh` is not: the package ssh2 lacks its native part (install a C++ compiler, then run npm rebuild ssh2)',
      )

    const tunnels = new SSHTunnelManager(options)
    const ssh: Ssh = {
      async connect(request) {
        const startedMs = performance.now()
        const connection = await tunnels.connect(request)
        app.tunnelMetrics.sshConnectMs.observe({}, performance.now() - startedMs)
        return connection
      },
      publicKey: (userId) => tunnels.publicKey(userId),
    }
    app.decorate('ssh', ssh)
  },
  { name: 'tunnel-ssh', fastify: '5.x', dependencies: ['tunnel-metrics'] },
)
