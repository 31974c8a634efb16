import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

/** What a page needs beside its link: the credentials for it, and the list of machines. */
const ROUTES = ['auth/ticket', 'auth/refresh', 'auth/revoke', 'machines'].map(
  (route) => `/api/tunnel/${route}`,
)
/** How long a browser need not ask again, in seconds; an origin that is taken off the list can do nothing without a token. */
const MAX_AGE_SECONDS = 600

/**
 * Lets pages of the listed origins read the answers (CORS, the Fetch standard, section 3.2). No cookie is involved: what
 * they may do is what their token may.
 */
export function allowOrigins(app: FastifyInstance, origins: readonly string[]): void {
  if (origins.length === 0) return
  const isListed = ({ headers: { origin } }: FastifyRequest): boolean =>
    origin !== undefined && origins.includes(origin)

  app.addHook('onRequest', async (request, reply) => {
    if (!ROUTES.includes(request.routeOptions.url ?? '')) return
    reply.header('vary', 'origin')
    if (isListed(request)) reply.header('access-control-allow-origin', request.headers.origin)
  })

  const preflight = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    if (isListed(request)) {
      reply.header('access-control-allow-methods', 'GET, POST')
      reply.header('access-control-allow-headers', 'authorization, content-type')
      reply.header('access-control-max-age', MAX_AGE_SECONDS)
    }
    return reply.code(204).send()
  }
  for (const url of ROUTES) app.options(url, preflight)
}
