import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { packageVersion } from '../../dial/software.ts'

export interface DocsOptions {
  /** Whether there is a page. */
  docs: boolean
}

const PREFIX = '/api/tunnel/docs'
/** The page's own scripts and pictures, and requests to this proxy; the interface sets styles of elements itself. */
const POLICY = {
  'default-src': "'none'",
  'script-src': "'self'",
  'style-src': "'self' 'unsafe-inline'",
  'img-src': "'self' data:",
  'connect-src': "'self'",
  'base-uri': "'none'",
  'form-action': "'none'",
  'frame-ancestors': "'none'",
}

/** What every route that is registered later says of itself, as OpenAPI. Its packages are loaded where they are wanted. */
async function docsPlugin(app: FastifyInstance, { docs }: DocsOptions): Promise<void> {
  if (!docs) return
  const { default: swagger } = await import('@fastify/swagger')
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'ssh-websocket-tunnel',
        version: packageVersion(),
        description: 'The routes of the proxy. docs/PROTOCOL.md has what goes over links.',
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
  })
}

async function docsPage(app: FastifyInstance, { docs }: DocsOptions): Promise<void> {
  if (!docs) return
  const { default: page } = await import('@fastify/swagger-ui')
  app.addHook('onRequest', app.limitByIp)
  // The page names its parts as seen from its own address, which has to end with a slash for that.
  app.addHook('onRequest', async ({ url }: FastifyRequest, reply: FastifyReply) => {
    if (url === PREFIX) return reply.code(308).header('location', 'docs/').send()
  })
  await app.register(page, {
    ...{ routePrefix: PREFIX, staticCSP: POLICY, theme: { title: 'Routes of the proxy' } },
    // As seen from the document's own address, so that it holds behind a reverse proxy that adds a prefix.
    transformSpecification: (document) => ({ ...document, servers: [{ url: '../../..' }] }),
    uiConfig: { docExpansion: 'list', tryItOutEnabled: false },
  })
}

/** The page, where the routes are. */
export const docsRoutes = fp(docsPage, {
  name: 'tunnel-docs-page',
  fastify: '5.x',
  encapsulate: true,
  dependencies: ['tunnel-docs', 'tunnel-ratelimit'],
})

/** Before the routes, of which it makes a note. */
export default fp(docsPlugin, { name: 'tunnel-docs', fastify: '5.x' })
