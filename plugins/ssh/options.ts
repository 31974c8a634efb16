import { type Static, Type } from 'typebox'
import { MIN_SECRET_BYTES } from '../../protocol/node/secrets.ts'

const algorithms = (description: string, defaults: string[]) =>
  Type.Array(Type.String({ minLength: 1 }), { description, default: defaults, minItems: 1, maxItems: 32 })

export const SshOptions = Type.Object(
  {
    connectTimeoutMs: Type.Integer({
      default: 10_000,
      minimum: 1,
      maximum: 86_400_000,
      description: 'Time from the first byte to a machine until its sshd has let the user in',
    }),
    compression: Type.Boolean({ description: 'Zlib inside the SSH connection', default: false }),
    algorithms: Type.Object(
      {
        kex: algorithms('Key exchanges that are offered', [
          'curve25519-sha256',
          'curve25519-sha256@libssh.org',
        ]),
        // The last two for servers without GCM, such as Dropbear.
        cipher: algorithms('Ciphers that are offered', [
          'aes256-gcm@openssh.com',
          'aes128-gcm@openssh.com',
          'aes256-ctr',
          'aes128-ctr',
        ]),
      },
      { additionalProperties: false, default: {}, description: 'In the order of preference' },
    ),
    masterSecret: Type.String({
      default: '',
      secret: true,
      description: `The secret from which users' SSH keys are derived; ${MIN_SECRET_BYTES} bytes or more. Former ones may follow on further lines`,
    }),
  },
  { additionalProperties: false },
)
export type SshOptions = Static<typeof SshOptions>
