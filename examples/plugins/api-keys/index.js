/**
 * Keys of your own beside tokens, for programs that nobody logs in: `curl -H 'Authorization: ApiKey SECRET'`, or
 * `ApiKey:SECRET` as the token of a client or an agent. The file has the SHA-256 of each key, so that whoever reads it can
 * use none, and what it is called: `{ "9f86d081…": { "sub": "alice", "id": "backup", "tier": "premium" } }`. A key that is
 * taken out of it lets nobody in from then on, and what stands on it ends within `holdsMinutes`.
 *
 *     npx tunnel server --plugin tunnel-plugin-api-keys --plugin-option file=./keys.json
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import fp from 'fastify-plugin'
import { TunnelError } from 'ssh-websocket-tunnel'

/** A JSON schema: wrong options stop the start, and are named. */
export const optionsSchema = {
  type: 'object',
  properties: {
    file: { type: 'string', minLength: 1 },
    holdsMinutes: { type: 'number', minimum: 1, maximum: 1_440, default: 15 },
  },
  required: ['file'],
  additionalProperties: false,
}

/**
 * @param {import('fastify').FastifyInstance} app
 * @param {{ file: string, holdsMinutes: number }} options
 */
async function apiKeys(app, { file, holdsMinutes }) {
  app.auth.addScheme({
    name: 'ApiKey',
    async verify(key) {
      const hash = createHash('sha256').update(key).digest('hex')
      const known = new Map(Object.entries(JSON.parse(await readFile(file, 'utf8')))).get(hash)
      if (known === undefined) throw new TunnelError('TOKEN_INVALID', 'no such key', { hop: 'proxy' })
      const { sub, id, tier, roles } = known
      return { sub, id, tier, roles, expiresAtMs: Date.now() + holdsMinutes * 60_000 }
    },
  })
}

export default fp(apiKeys, { name: 'api-keys', fastify: '5.x', dependencies: ['tunnel-auth'] })
