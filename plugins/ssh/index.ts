import fp from 'fastify-plugin'
import { MIN_SECRET_BYTES } from '../../protocol/node/secrets.ts'
import { checkAlgorithms, hasNativeCrypto } from './algorithms.ts'
import type { SSHConnection } from './connection.ts'
import { masterSecretUnfit, tooManySecrets } from './errors.ts'
import { secretsOf } from './keys.ts'
import type { SshOptions } from './options.ts'
import { SSHTunnelManager, type SshConnectRequest } from './tunnel.ts'

export type { CommandChannel, CommandExit } from './command-channel.ts'
export type { SSHConnection } from './connection.ts'
export type { NameCheck } from './named-target.ts'
export type { SshConnectRequest } from './tunnel.ts'

export interface Ssh {
  connect(request: SshConnectRequest): Promise<SSHConnection>
  /** `ssh-ed25519 AAAA… tunnel:<userId>` */
  publicKey(userId: string): string
  /** With those of former master secrets behind it, while machines may know them alone. */
  publicKeys(userId: string): { publicKey: string; keyId: string }[]
}

/** An sshd takes six attempts at a login (MaxAuthTries), and the person's own keys are none of ours. */
const MAX_SECRETS = 4

declare module 'fastify' {
  interface FastifyInstance {
    ssh: Ssh
  }
}

export default fp<SshOptions>(
  async (app, options) => {
    const secrets = secretsOf(options.masterSecret)
    const byteLength = Math.min(...secrets.map((secret) => Buffer.byteLength(secret)), MIN_SECRET_BYTES)
    if (secrets.length === 0 || byteLength < MIN_SECRET_BYTES)
      throw masterSecretUnfit(secrets.length === 0 ? 0 : byteLength)
    if (secrets.length > MAX_SECRETS) throw tooManySecrets(MAX_SECRETS)
    checkAlgorithms(options.algorithms)
    if (!hasNativeCrypto())
      app.log.warn(
        '`tunnel request`, `exec`, `shell` and `cp` are several times slower than they could be, `tunnel ssh` is not: the package ssh2 lacks its native part (install a C++ compiler, then run npm rebuild ssh2 --foreground-scripts, which shows what else is missing)',
      )

    const tunnels = new SSHTunnelManager(options, (open) => app.tracing.during('channel', open))
    const ssh: Ssh = {
      async connect(request) {
        const startedMs = performance.now()
        const { userId, route } = request
        const onFormerKey = (keyId: string): void => {
          app.log.warn(
            { userId, context: { machine: route.name, keyId } },
            'a machine knows a former key alone',
          )
          const details = { keyId }
          app.audit.record({ event: 'ssh.former_key_used', userId, machine: route.name, details })
        }
        const connection = await tunnels.connect({ ...request, onFormerKey })
        app.tunnelMetrics.sshConnectMs.observe({}, performance.now() - startedMs)
        return connection
      },
      publicKey: (userId) => tunnels.publicKeys(userId)[0]?.publicKey ?? '',
      publicKeys: (userId) => tunnels.publicKeys(userId),
    }
    app.decorate('ssh', ssh)
  },
  { name: 'tunnel-ssh', fastify: '5.x', dependencies: ['tunnel-audit', 'tunnel-metrics', 'tunnel-tracing'] },
)
