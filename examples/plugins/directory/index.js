/**
 * Only users whom your own directory knows may open streams. The directory is a JSON file here, `{ "alice": ["home"] }`,
 * read again for each stream: put a question to LDAP or a database in its place.
 *
 *     npx tunnel server --plugin tunnel-plugin-directory --plugin-option file=./users.json
 */
import { readFile } from 'node:fs/promises'
import fp from 'fastify-plugin'
import { TunnelError } from 'ssh-websocket-tunnel'

/** A JSON schema: wrong options stop the start, and are named. */
export const optionsSchema = {
  type: 'object',
  properties: { file: { type: 'string', minLength: 1 } },
  required: ['file'],
  additionalProperties: false,
}

/**
 * @param {import('fastify').FastifyInstance} app
 * @param {{ file: string }} options
 */
async function directory(app, { file }) {
  app.tunnel.addHook('preOpen', async ({ user, machine }) => {
    const users = new Map(Object.entries(JSON.parse(await readFile(file, 'utf8'))))
    if (users.get(user.sub)?.includes(machine)) return
    throw new TunnelError('FORBIDDEN', `our directory does not let ${user.sub} use ${machine}`, {
      hop: 'proxy',
    })
  })
}

export default fp(directory, { name: 'directory', fastify: '5.x', dependencies: ['tunnel-forward'] })
