import { Type } from 'typebox'
import { ServiceOrigin } from '../../dial/service-origin.ts'

export const serviceOrigin = {
  summary: 'The origin under which a browser finds a service of the machine',
  params: Type.Object({
    machine: Type.String({ description: 'its name; owner/name for one that somebody shares' }),
    port: Type.String({ description: 'of the service, on the machine itself' }),
  }),
  response: { 200: ServiceOrigin },
}

export const exec = {
  summary:
    'Runs a command on the machine; each piece of its output is a line of JSON, and so is how it ended',
  params: Type.Object({
    machine: Type.String({ description: 'its name; owner/name for one that somebody shares' }),
  }),
  body: Type.Object(
    {
      command: Type.String({ minLength: 1, maxLength: 32_768, description: "a line for the user's shell" }),
      stdin: Type.Optional(Type.String({ description: 'what the command reads; without it, nothing' })),
      encoding: Type.Optional(
        Type.Union([Type.Literal('utf8'), Type.Literal('base64')], {
          description: 'how output is written: as text, or byte for byte; default utf8',
        }),
      ),
    },
    { additionalProperties: false },
  ),
  response: {
    200: Type.Unknown({
      description: 'application/x-ndjson: {"stdout"}, {"stderr"}, and last {"exit"} or {"error"}',
    }),
  },
}
