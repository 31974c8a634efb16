/**
 * Tells services on the machines who is asking: headers of your own on every HTTP request, in place of what the caller
 * may have sent under these names.
 *
 *     npx tunnel server --plugin tunnel-plugin-headers --plugin-option headers.x-office=north
 */
import fp from 'fastify-plugin'

/** A JSON schema. */
export const optionsSchema = {
  type: 'object',
  properties: {
    userHeader: { type: 'string', default: 'x-tunnel-user' },
    headers: { type: 'object', additionalProperties: { type: 'string' }, default: {} },
  },
  additionalProperties: false,
}

/**
 * @param {import('fastify').FastifyInstance} app
 * @param {{ userHeader: string, headers: Record<string, string> }} options
 */
async function headersPlugin(app, { userHeader, headers }) {
  app.tunnel.addHook('preOpen', (context) => {
    if (context.head.kind !== 'http') return
    context.headers = { ...context.headers, ...headers, [userHeader]: encodeURIComponent(context.user.sub) }
  })
}

export default fp(headersPlugin, { name: 'headers', fastify: '5.x', dependencies: ['tunnel-forward'] })
