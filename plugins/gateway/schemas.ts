import { Type } from 'typebox'
import { ServiceOrigin } from '../../dial/service-origin.ts'

export const serviceOrigin = {
  summary: 'The origin under which a browser finds a service of the machine',
  params: Type.Object({
    machine: Type.String({ description: 'its name' }),
    port: Type.String({ description: 'of the service, on the machine itself' }),
  }),
  response: { 200: ServiceOrigin },
}
