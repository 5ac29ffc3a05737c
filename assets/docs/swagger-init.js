window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  layout: "BaseLayout",
  oauth2RedirectUrl: new URL("docs/oauth2-redirect", document.baseURI).href,
});
